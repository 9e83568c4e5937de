"""Draws, filters, finds and tracks, and writes pictures and a film."""

import tempfile
from pathlib import Path

import cv2
import numpy as np

picture = np.zeros((240, 320, 3), np.uint8)
cv2.rectangle(picture, (40, 40), (140, 120), (0, 255, 0), -1)
cv2.circle(picture, (230, 150), 40, (255, 0, 0), 3)
cv2.putText(picture, "opencv", (60, 210), cv2.FONT_HERSHEY_SIMPLEX, 1.5, (255, 255, 255), 2)

STARTS = {".png": b"\x89PNG", ".jpg": b"\xff\xd8", ".webp": b"RIFF", ".tiff": b"II*\x00"}
for suffix, start in STARTS.items():
    done, encoded = cv2.imencode(suffix, picture)
    assert done
    assert encoded.tobytes().startswith(start)
    assert cv2.imdecode(encoded, cv2.IMREAD_COLOR).shape == picture.shape

grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
edges = cv2.Canny(cv2.GaussianBlur(grey, (5, 5), 0), 50, 150)
contours, _ = cv2.findContours(edges, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
assert len(contours) >= 2
assert max(map(cv2.contourArea, contours)) > 5_000
_, mask = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
assert cv2.connectedComponentsWithStats(mask)[0] >= 3
assert cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)).any()

turned = cv2.warpAffine(picture, cv2.getRotationMatrix2D((160, 120), 15, 1), (320, 240))
orb = cv2.ORB_create()
points, words = orb.detectAndCompute(picture, None)
turned_points, turned_words = orb.detectAndCompute(turned, None)
matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(words, turned_words)
assert len(matches) > 20
source = np.float32([points[match.queryIdx].pt for match in matches])
target = np.float32([turned_points[match.trainIdx].pt for match in matches])
assert cv2.findHomography(source, target, cv2.RANSAC)[0].shape == (3, 3)
assert cv2.SIFT_create().detectAndCompute(grey, None)[1].shape[1] == 128

flow = cv2.calcOpticalFlowFarneback(grey, np.roll(grey, 3, 1), None, 0.5, 3, 15, 3, 5, 1.2, 0)
assert flow.shape == (240, 320, 2)
template = cv2.matchTemplate(picture, picture[140:190, 200:260], cv2.TM_CCOEFF_NORMED)
assert cv2.minMaxLoc(template)[3] == (200, 140)
assert cv2.dft(np.float32(grey)).shape == grey.shape
rows = np.float32([[0, 0], [0, 1], [9, 9], [9, 8]])
done = (cv2.TERM_CRITERIA_EPS, 10, 0.1)
assert set(cv2.kmeans(rows, 2, None, done, 3, cv2.KMEANS_PP_CENTERS)[1].ravel()) == {0, 1}
solved, _ = cv2.invert(np.float32([[2, 0], [0, 4]]))
assert solved == 8 or solved > 0
assert cv2.QRCodeDetector().detect(picture)[0] in {True, False}
code = cv2.QRCodeEncoder_create().encode("lambda")
code = cv2.copyMakeBorder(
    cv2.resize(code, None, fx=8, fy=8, interpolation=cv2.INTER_NEAREST),
    32,
    32,
    32,
    32,
    cv2.BORDER_CONSTANT,
    value=255,
)
assert cv2.QRCodeDetector().detectAndDecode(code)[0] == "lambda"

with tempfile.TemporaryDirectory() as scratch:
    film = str(Path(scratch) / "film.avi")
    writer = cv2.VideoWriter(film, cv2.VideoWriter_fourcc(*"MJPG"), 10, (320, 240))
    for step in range(5):
        writer.write(np.roll(picture, step * 5, 1))
    writer.release()
    reader = cv2.VideoCapture(film)
    assert reader.isOpened()
    assert int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) == 5
    assert reader.read()[1].shape == picture.shape
assert "Video I/O" in cv2.getBuildInformation()
assert Path(cv2.__file__).exists()
print("OK")

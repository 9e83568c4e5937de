import java.io.BufferedInputStream;
import java.io.InputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.zip.ZipEntry;
import java.util.zip.ZipInputStream;

/** Prints the SHA-256 and the name of each entry, as a streaming reader meets them. */
public class ReadZip {
    public static void main(String[] arguments) throws Exception {
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        try (InputStream file = new BufferedInputStream(Files.newInputStream(Path.of(arguments[0])));
                ZipInputStream zip = new ZipInputStream(file, StandardCharsets.UTF_8)) {
            for (ZipEntry entry = zip.getNextEntry(); entry != null; entry = zip.getNextEntry()) {
                MessageDigest digest = MessageDigest.getInstance("SHA-256");
                byte[] piece = new byte[1 << 16];
                for (int length = zip.read(piece); length > 0; length = zip.read(piece)) {
                    digest.update(piece, 0, length);
                }
                out.println(HexFormat.of().formatHex(digest.digest()) + " " + entry.getName());
            }
        }
    }
}

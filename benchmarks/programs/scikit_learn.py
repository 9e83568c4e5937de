"""Trains, tunes, judges and stores models of several families, on data that the package ships."""

import io

import joblib
import numpy as np
from scipy import optimize, signal, sparse, spatial, stats
from sklearn.cluster import DBSCAN, KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits, load_wine, make_regression
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.manifold import TSNE
from sklearn.metrics import classification_report, roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.naive_bayes import MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

samples, kinds = load_wine(return_X_y=True)
train, test, kinds_train, kinds_test = train_test_split(samples, kinds, random_state=0)
linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
assert linear.fit(train, kinds_train).score(test, kinds_test) > 0.9
assert "precision" in classification_report(kinds_test, linear.predict(test))
assert roc_auc_score(kinds_test, linear.predict_proba(test), multi_class="ovr") > 0.95

for model in (
    RandomForestClassifier(20, n_jobs=2, random_state=0),
    HistGradientBoostingClassifier(max_iter=20, random_state=0),
    make_pipeline(StandardScaler(), SVC()),
    make_pipeline(StandardScaler(), KNeighborsClassifier()),
    make_pipeline(StandardScaler(), MLPClassifier(max_iter=400, random_state=0)),
):
    assert model.fit(train, kinds_train).score(test, kinds_test) > 0.85, model

search = GridSearchCV(linear, {"logisticregression__C": [0.1, 1, 10]}, cv=3)
stored = io.BytesIO()
joblib.dump(search.fit(train, kinds_train), stored)
stored.seek(0)
assert (joblib.load(stored).predict(test) == search.predict(test)).all()
assert "<style" in search._repr_html_()

digits, labels = load_digits(return_X_y=True)
assert PCA(10).fit(digits).explained_variance_ratio_.sum() > 0.7
assert KMeans(10, n_init=1, random_state=0).fit(digits).inertia_ > 0
assert DBSCAN(eps=20).fit(digits[:200]).labels_.shape == (200,)
assert TSNE(perplexity=5, max_iter=250).fit_transform(digits[:40]).shape == (40, 2)
assert cross_val_score(MultinomialNB(), digits, labels, cv=3).mean() > 0.8

inputs, outputs = make_regression(100, 5, random_state=0)
assert Ridge().fit(inputs, outputs).score(inputs, outputs) > 0.9
assert GradientBoostingRegressor(n_estimators=10).fit(inputs, outputs).train_score_[-1] > 0
assert GaussianProcessRegressor().fit(inputs[:30], outputs[:30]).predict(inputs[:1]).shape == (1,)

words = ["a dog barks", "a cat sleeps", "dogs and cats"] * 4
matrix = TfidfVectorizer(stop_words="english").fit_transform(words)
assert TruncatedSVD(2).fit_transform(matrix).shape == (12, 2)
encode = ColumnTransformer([("kind", OneHotEncoder(), [0])], remainder="passthrough")
assert encode.fit_transform(np.array([[0, 1.5], [1, 2.5]])).shape == (2, 3)

# What sklearn stands on is asked directly, too.
assert abs(optimize.minimize(lambda x: ((x - 3) ** 2).sum(), np.zeros(2)).x[0] - 3) < 1e-3
assert optimize.linprog([-1, -2], A_ub=[[1, 1]], b_ub=[4]).fun == -8
assert stats.ttest_ind([1, 2, 3], [7, 8, 9]).pvalue < 0.01
assert signal.find_peaks([0, 1, 0, 2, 0])[0].tolist() == [1, 3]
assert sparse.linalg.eigsh(sparse.eye(20, format="csr"), k=2)[0].round(6).tolist() == [1, 1]
assert spatial.cKDTree(digits[:50]).query(digits[:1])[1][0] == 0
print("OK")

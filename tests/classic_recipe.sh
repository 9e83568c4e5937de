#!/bin/sh
# The classic recipe for making Lambda packages small, as it has been copied from blog to blog since
# 2018, on the directory TREE whose bytecode has the tag TAG: classic_recipe.sh TREE cpython-313
set -eu
cd "$1"
tag=$2

# Metadata and tests, by the names of directories at any depth.
find . -type d -name '*-info' -prune -exec rm -rf {} +
find . -type d -name tests -prune -exec rm -rf {} +

# What Lambda was known to provide.
rm -rf boto3 botocore docutils dateutil jmespath s3transfer numpy/doc

# Bytecode takes the place of its source, whatever it was made from.
find . -type f -name '*.pyc' | while IFS= read -r cached; do
    promoted=$(printf '%s\n' "$cached" | sed -e 's|__pycache__/||' -e "s|\.$tag||")
    [ "$cached" = "$promoted" ] || cp "$cached" "$promoted"
done
find . -type d -name __pycache__ -prune -exec rm -rf {} +
find . -type f -name '*.py' -exec rm -f {} +

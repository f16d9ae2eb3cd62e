# A clone with the environment of the pipeline, for retraining without a GPU. Build it in the root of a clone:
#   docker build --file deploy/container/Train.Dockerfile --tag augserve-train .
FROM python:3.11-bookworm
COPY . /augserve
WORKDIR /augserve
RUN make env

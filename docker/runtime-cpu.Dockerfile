# The device side on a CPU: verifies, profiles and serves a release. No torch, no compiler.
#
#   docker build -f docker/runtime-cpu.Dockerfile -t edgestill-runtime .
#   docker run --rm --user "$(id -u)" -v "$PWD/dist:/releases" edgestill-runtime verify /releases/digits
FROM python:3.11-slim

COPY pyproject.toml constraints.txt README.md LICENSE /src/
COPY pipeline /src/pipeline
COPY targets /src/targets
RUN pip install --no-cache-dir -c /src/constraints.txt '/src[onnxruntime,openvino]' \
    && rm -rf /src

# A release is data of others: run what reads it without rights.
RUN useradd --create-home edgestill
USER edgestill
WORKDIR /home/edgestill
ENTRYPOINT ["edgestill"]
CMD ["--help"]

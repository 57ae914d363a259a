# An image that serves one exported model: no torch, no Ray, no pandas.
#   docker build -f cluster/serve.Dockerfile -t threats .
#   docker run -p 127.0.0.1:8080:8080 -v "$PWD/threats.onnx:/models/model.onnx:ro" -v threats-token:/token threats
FROM python:3.12-slim
COPY . /src
# The package without its dependencies, which train models; then what a server imports.
RUN pip install --no-cache-dir --no-deps /src \
 && pip install --no-cache-dir "fastapi>=0.115,<1" "uvicorn>=0.34,<1" "onnxruntime>=1.23,<2" "numpy>=2.0,<3" "pyarrow>=20" "pydantic>=2.11,<3" "hydra-core==1.3.8" "pyyaml>=6,<7" "rich>=14,<16" "safetensors>=0.6,<1" \
 && rm -rf /src
RUN useradd --uid 1000 server && mkdir /token && chown server /token
USER server
EXPOSE 8080
# Inside of a container every address is the container's own; what reaches it is said by -p.
ENTRYPOINT ["jamba-ray", "serve", "/models/model.onnx", "host=0.0.0.0", "token_file=/token/serve.token"]

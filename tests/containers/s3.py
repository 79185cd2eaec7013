"""moto's S3 server in the place of SeaweedFS's: no keys are asked for, nothing outlives it."""

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

app = DomainDispatcherApplication(create_backend_app)


def answer(environ, start_response):
    if environ["PATH_INFO"] == "/healthz":
        start_response("200 OK", [])
        return [b"ok"]
    return app(environ, start_response)


run_simple("0.0.0.0", 8333, answer, threaded=True)

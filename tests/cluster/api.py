"""A few requests to an API server without starting a kubectl for each: for polling in tests."""
import http.client
import json
import ssl


class ApiError(Exception):
    def __init__(self, status, body):
        super().__init__(f"{status}: {body.get('message', body) if isinstance(body, dict) else body}")
        self.status, self.body = status, body


class Api:
    def __init__(self, host, port, authority, token=None, certificate=None, timeout=30):
        self.context = ssl.create_default_context(cafile=str(authority))
        if certificate:
            self.context.load_cert_chain(*map(str, certificate))
        self.host, self.port, self.token, self.timeout = host, port, token, timeout

    def request(self, method, path, body=None, content_type="application/json"):
        connection = http.client.HTTPSConnection(self.host, self.port, context=self.context, timeout=self.timeout)
        headers = {"Accept": "application/json", "Content-Type": content_type}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        try:
            data = body if isinstance(body, (bytes, str, type(None))) else json.dumps(body)
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        finally:
            connection.close()
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        if answer.status >= 300:
            raise ApiError(answer.status, value)
        return value

    def get(self, path):
        return self.request("GET", path)

    def find(self, path):
        """None where there is no such object."""
        try:
            return self.get(path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def post(self, path, body):
        return self.request("POST", path, body)

    def delete(self, path, body=None):
        return self.request("DELETE", path, body)

    def merge(self, path, body):
        return self.request("PATCH", path, body, "application/merge-patch+json")

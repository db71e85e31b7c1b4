"""A small hub on 127.0.0.1 for tests, with a store on a second port, as Hugging Face's.

usage: hub_server.py SCENARIO LOG

SCENARIO is a JSON file, read anew for each request:
  root       directory of OWNER/NAME/FILE
  revisions  name -> commit
  moved      repository -> the name it has now
  token      if there, what requests to the hub must bear
  faults     FILE -> {"resolve": {...}, "content": {...}}: what goes wrong where the hub describes
             the file, and where its bytes come from

LOG gets a JSON line for each request. Prints both ports and ends when standard input does.
"""

import hashlib
import json
import os
import re
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

scenario_path, log_path = sys.argv[1:]
lock = threading.Lock()
# How often a fault has happened, and which places a transfer has broken off at.
happened = {}


def scenario():
    with open(scenario_path) as file:
        return json.load(file)


def is_large(name):
    return name.endswith(".safetensors")


def digest(name, data):
    if is_large(name):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self.handle_request()

    def do_GET(self):
        self.handle_request()

    def handle_request(self):
        self.scenario = scenario()
        self.port = self.server.server_address[1]
        with lock, open(log_path, "a") as log:
            entry = {
                "method": self.command, "path": self.path, "isHub": self.server is hub,
                "authorization": self.headers.get("Authorization"),
                "range": self.headers.get("Range"), "agent": self.headers.get("User-Agent"),
            }
            log.write(json.dumps(entry) + "\n")
        path = urllib.parse.urlsplit(self.path).path
        try:
            if self.server is not hub:
                repository, name = re.fullmatch("/store/(.+)/([^/]+)", path).groups()
                self.content(repository, name)
            elif match := re.fullmatch("/api/resolve-cache/models/(.+)/([^/]+)/([^/]+)", path):
                self.content(match[1], match[3], match[2])
            elif match := re.fullmatch("/(.+)/resolve/([^/]+)/([^/]+)", path):
                self.resolve(match[1], *map(urllib.parse.unquote, match.groups()[1:]))
            else:
                self.answer(404, {})
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def answer(self, status, headers, body=b""):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fault(self, name, place):
        """The fault that is due, {} if none is."""
        fault = self.scenario.get("faults", {}).get(name, {}).get(place, {})
        with lock:
            count = happened[name, place] = happened.get((name, place), 0) + 1
        return {} if count > fault.get("times", count) else fault

    def read(self, repository, name):
        with open(os.path.join(self.scenario["root"], repository, name), "rb") as file:
            return file.read()

    def resolve(self, repository, revision, name):
        token = self.scenario.get("token")
        given = self.headers.get("Authorization")
        if token and given and given != "Bearer " + token:
            return self.answer(401, {"X-Error-Message": "Invalid credentials"})
        if moved := self.scenario.get("moved", {}).get(repository):
            path = f"/{moved}/resolve/{urllib.parse.quote(revision, safe='')}/{name}"
            return self.answer(307, {"Location": path})
        fault = self.fault(name, "resolve")
        if "status" in fault:
            return self.answer(fault["status"], fault.get("headers", {}), b"a page of words")
        is_there = os.path.isdir(os.path.join(self.scenario["root"], repository))
        if not is_there or token and not given:
            return self.answer(404 if given else 401, {"X-Error-Code": "RepoNotFound"})
        revisions = self.scenario["revisions"]
        commit = revision if revision in revisions.values() else revisions.get(revision)
        if commit is None:
            return self.answer(404, {"X-Error-Code": "RevisionNotFound"})
        try:
            data = self.read(repository, name)
        except FileNotFoundError:
            return self.answer(
                404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, b"Entry not found")
        headers = {"X-Repo-Commit": commit}
        if is_large(name):
            headers["X-Linked-Etag"] = f'"{digest(name, data)}"'
            headers["X-Linked-Size"] = str(len(data))
            headers["ETag"] = '"of the redirection"'
            headers["Location"] = (
                f"http://127.0.0.1:{store.server_address[1]}/store/{repository}/{name}?signed=secret")
            status = 302
        else:
            headers["Location"] = (
                f"/api/resolve-cache/models/{repository}/{commit}/{name}?etag=%22x%22")
            status = 307
        for header, value in fault.get("headers", {}).items():
            headers.pop(header, None)
            if value is not None:
                headers[header] = value.replace("HUB", f"127.0.0.1:{hub.server_address[1]}")
        self.answer(status, headers)

    def content(self, repository, name, commit=None):
        data = self.read(repository, name)
        headers = {"ETag": f'"{digest(name, data)}"'}
        if commit:
            headers["X-Repo-Commit"] = commit
        if self.command == "HEAD":
            if self.scenario.get("faults", {}).get(name, {}).get("content", {}).get("bare"):
                headers = {}
            return self.answer(200, headers | {"Content-Length": str(len(data))})
        fault = self.fault(name, "content")
        if "status" in fault:
            return self.answer(fault["status"], fault.get("headers", {}), b"a page of words")
        if fault.get("corrupt"):
            data = data[:-1] + bytes([data[-1] ^ 1])
        data = data[: len(data) - fault.get("short", 0)] + b"x" * fault.get("extra", 0)

        start, status = 0, 200
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if wanted and not fault.get("ignores_range"):
            start, status = int(wanted[1]), 206
            if start >= len(data):
                return self.answer(416, {"Content-Range": f"bytes */{len(data)}"})
            shown = start + fault.get("shifted_range", 0)
            headers["Content-Range"] = f"bytes {shown}-{len(data) - 1}/{len(data)}"
        body = data[start:]
        self.send_response(status)
        for header, value in headers.items():
            self.send_header(header, value)
        if fault.get("without_length"):
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        end = len(body)
        with lock:
            used = happened.setdefault((name, "breaks"), set())
            for place in sorted(fault.get("breaks", [])):
                if place not in used and start <= place < start + len(body):
                    used.add(place)
                    end = place - start
                    self.close_connection = True
                    break
        if "hangs_at" in fault:
            end = min(end, max(0, fault["hangs_at"] - start))
        for offset in range(0, end, 1 << 16):
            self.wfile.write(body[offset : min(end, offset + (1 << 16))])
            time.sleep(fault.get("pause", 0))
        self.wfile.flush()
        if "hangs_at" in fault:
            time.sleep(60)
            self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


hub = Server(("127.0.0.1", 0), Handler)
store = Server(("127.0.0.1", 0), Handler)
for server in (hub, store):
    threading.Thread(target=server.serve_forever, daemon=True).start()
print(hub.server_address[1], store.server_address[1], flush=True)
sys.stdin.read()

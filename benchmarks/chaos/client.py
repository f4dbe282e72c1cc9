"""The client of a trial: it orders, orders the same again and again, and looks, over an API that comes and goes."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import httpx

ENDED = ("finished", "failed", "cancelled")
AT_A_TIME = 3  # orders of a kind that have not ended


class Client:
    """Keeps jobs of both kinds under way until it is told to stop. `wrong` are the promises it saw broken."""

    def __init__(self, port: int, orders: Mapping[str, dict[str, Any]]) -> None:
        """`orders`: where to -> what, without a name."""
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)
        self._orders = orders
        self.jobs: dict[str, dict[str, Any]] = {}  # key -> the job as it was last seen
        self.wrong: list[str] = []
        self.asked_again = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def stop_ordering(self) -> None:
        self._stopping.set()
        self._thread.join()

    def order(self, where: str, name: str, what: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """Order, or order again -> the job; None when the API is away."""
        key = f"{where}/{name}"
        answer = self._ask(
            "POST",
            f"/v1/{where}",
            json={**(what or self._orders[where]), "name": name},
            headers={"Idempotency-Key": key},
        )
        if answer is None:
            return None
        job: dict[str, Any] = answer.json()
        if answer.status_code != 202:
            self.wrong.append(f"{key} was answered {answer.status_code}: {job.get('detail')}")
            return None
        known = self.jobs.get(key)
        if known is not None and known["id"] != job["id"]:
            self.wrong.append(f"{key} became a second job")
        self.asked_again += known is not None
        self.jobs[key] = job
        return job

    def wait(self, seconds: float) -> None:
        """Look until every job has ended."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and (open_ := self._open()):
            for key in open_:
                self._look(key)
            time.sleep(0.1)

    def listed(self) -> list[str]:
        """The ids of all jobs there are."""
        ids: list[str] = []
        token: str | None = None
        while True:
            found = self._http.get("/v1/jobs", params={"limit": 100} | ({"page_token": token} if token else {})).json()
            ids += [job["id"] for job in found["items"]]
            token = found.get("next_page_token")
            if token is None:
                return ids

    def close(self) -> None:
        self._http.close()

    def _run(self) -> None:
        number = 0
        while not self._stopping.wait(0.1):
            for where in self._orders:
                if sum(key.startswith(where) for key in self._open()) < AT_A_TIME:
                    number += 1
                    while self.order(where, f"made-{number}") is None and not self._stopping.wait(0.1):
                        pass
            for key in self._open():
                self._look(key)
                self.order(*key.split("/"))

    def _open(self) -> list[str]:
        return [key for key, job in [*self.jobs.items()] if job["state"] not in ENDED]

    def _look(self, key: str) -> None:
        answer = self._ask("GET", f"/v1/jobs/{self.jobs[key]['id']}")
        if answer is not None and answer.status_code == 200:
            self.jobs[key] = answer.json()
        elif answer is not None and answer.status_code != 503:
            self.wrong.append(f"{key} is {answer.status_code} to who looks")

    def _ask(self, method: str, path: str, **given: Any) -> httpx.Response | None:
        """An answer; None when the API, or its database, is away."""
        try:
            answer = self._http.request(method, path, **given)
        except httpx.TransportError:
            return None
        return None if answer.status_code in (503, 500, 429) and self._is_away(answer) else answer

    def _is_away(self, answer: httpx.Response) -> bool:
        if answer.status_code == 500:
            self.wrong.append(f"answered 500: {answer.text[:200]}")
        return True

import pickle
import threading

from heterrec_pipeline.telemetry.progress import METER, Meter


def test_the_line_says_what_moved_last_and_what_is_done() -> None:
    meter = Meter()
    assert meter.line() == "starting"
    meter.read("items", 1200)
    meter.read("items", 34)
    meter.read("log", 5, stage="sampling")
    assert meter.line() == "sampling  (items 1,234 read, log 5 read)"
    meter.wrote("train", 7)
    meter.wrote("train", 7)
    assert meter.line() == "writing train  (items 1,234 read, log 5 read, train 14 written)"
    meter.enter("publishing")
    assert meter.line().startswith("publishing  (")
    meter.reset()
    assert meter.line() == "starting"


def test_threads_lose_no_counts() -> None:
    meter = Meter()

    def work() -> None:
        for _ in range(2000):
            meter.read("log", 1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert meter.rows_read == {"log": 8000}


def test_on_a_worker_it_is_the_workers_own() -> None:
    assert pickle.loads(pickle.dumps(METER)) is METER
    assert pickle.loads(pickle.dumps(Meter())) is METER

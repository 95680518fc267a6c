"""The process of a film with a quick predictor; ``MAEFACE_TEST_FILM`` says how it fares."""

import os
import signal

import parts_cases
from maeface import predict
from maeface.service import film_process


def slower(options):
    return parts_cases.QuickPredictor(0.02)


if __name__ == "__main__":
    if os.environ["MAEFACE_TEST_FILM"] == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    import serve_film  # worker processes find its functions under this name

    predict._make_predictor = {"quick": parts_cases.quick, "slow": serve_film.slower}[
        os.environ["MAEFACE_TEST_FILM"]
    ]
    film_process.NICE = 0  # a test waits for this film
    film_process.main()

"""TensorBoard: writes the events of a run, and serves folders of runs with an HParams tab.

It knows results by their names in `metrics.json`; what is logged and when is decided in `training`.
"""

RESULT = "result/"  # begins the tags of metrics in the HParams tab
SEED_TAG = "_hparams_/session_start_info/"  # begins the tags of seeds of a stacked run

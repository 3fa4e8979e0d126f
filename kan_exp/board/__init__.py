"""TensorBoard: events, summaries and the graph of a run, and the server that shows them."""

RESULT = "result/"  # begins the tags of metrics in the HParams tab
SEED_TAG = "_hparams_/session_start_info/"  # begins the tags of seeds of a stacked run

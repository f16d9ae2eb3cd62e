"""Section `slo` of params.yaml: the SLO that settings are tuned for and turns are judged by."""

from ...models.serving.settings import Slo, TpotSeconds, TtftSeconds
from .params import Section, load_params


class SloParams(Section):
    SECTION = "slo"
    ttft_s: TtftSeconds
    tpot_s: TpotSeconds


def load_slo() -> Slo:
    """Raises ParamsError."""
    params = load_params(SloParams)
    return Slo(params.ttft_s, params.tpot_s)

"""Section `slo` of params.yaml: the SLO that settings are tuned for and turns are judged by."""

from pydantic import Field

from ...models.serving.settings import Slo
from .params import Section, load_params


class SloParams(Section):
    SECTION = "slo"
    ttft_s: float = Field(ge=1e-3, le=3600)
    tpot_s: float = Field(ge=1e-4, le=60)


def load_slo() -> Slo:
    """Raises ParamsError."""
    params = load_params(SloParams)
    return Slo(params.ttft_s, params.tpot_s)

"""The bound on waits, checked by an account that is kept here; see test_invariants.py."""

from vllm.v1.request import Request

from .conftest import STEP_S, Engine, TestedScheduler


class Waits:
    """The bound on waits that overdue.py promises, by an account of tokens that is kept here from what is seen alone.

    Overdue turns that went first leave the account of the overdue in debt by the largest of them at most, and their
    share of each step's budget pays it back. Until then they may be passed over; from then on, where a step admits
    anybody, it admits the one that has waited longest.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        assert isinstance(engine.scheduler, TestedScheduler)
        self._scheduler = engine.scheduler
        ordering = engine.scheduler.decisions.ordering
        self._queue, self._passing_over = ordering.queue, ordering.passing_over
        self._debt = 0.0  # tokens, at most
        self.owed = 0  # times that the longest wait had to end, and did

    def before_step(self) -> None:
        """Who waits, and who will have waited beyond the bound in the coming step."""
        scheduler = self._scheduler
        now_s, turns = self._engine.clock.now_s + STEP_S, scheduler.lifecycle.turns
        self._tokens = {request: request.num_tokens for request in scheduler.waiting}
        since_s = {request: turns[request.request_id].waiting_since_s for request in self._tokens}
        self._overdue = {each for each in since_s if now_s - since_s[each] > scheduler.settings.max_wait_s}
        longest_s = min((since_s[each] for each in self._overdue), default=None)
        self._longest = {each for each in self._overdue if since_s[each] == longest_s}  # several equally long
        self._reserved = self._passing_over.reserved(self._queue, now_s)

    def check(self) -> None:
        """After the step."""
        admitted = self._tokens.keys() & set(self._scheduler.running)
        if self._tokens:  # else nobody was asked
            earned = self._scheduler.settings.admission.overdue_share * self._engine.budgets[-1]
            self._debt = max(self._debt - earned, 0.0)
        if self._longest and admitted and not self._debt and not self._may_be_passed(admitted):
            assert self._longest & admitted, "who has waited longest was passed over, and nothing was owed"
            self.owed += 1
        self._debt = max([self._debt, *(self._tokens[each] for each in admitted & self._overdue)])

    def _may_be_passed(self, admitted: set[Request]) -> bool:
        """It wants a grammar (or ended for want of one) or an adapter's place, or room that others may pass by for a
        bounded time, or one with a reservation went before."""
        wanting = self._longest & getattr(self._scheduler, "deferred_waiting", set())
        passing_s, now_s = self._scheduler.settings.admission.pass_over_s, self._engine.clock.now_s
        since_s = self._passing_over.since_s
        passed = {each for each in self._longest if now_s - since_s.get(each, float("-inf")) < passing_s}
        ended = any(each.is_finished() for each in self._longest)
        return bool(wanting or passed or ended or self._reserved in admitted)

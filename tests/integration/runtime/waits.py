"""Checks the bound on waits with an account of its own; see test_invariants.py."""

from vllm.v1.request import Request

from .conftest import STEP_S, Engine, TestedScheduler


class Waits:
    """Checks the bound that overdue.py promises, with an account of tokens computed from the outside.

    Overdue turns that went first leave a debt of at most the largest of them, and their share of each step's budget
    repays it. Until then overdue turns may wait; afterwards, a step that admits anything admits the longest wait.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        assert isinstance(engine.scheduler, TestedScheduler)
        self._scheduler = engine.scheduler
        ordering = engine.scheduler.decisions.ordering
        self._queue, self._passing_over = ordering.queue, ordering.passing_over
        self._debt = 0.0  # tokens, an upper bound
        self.owed = 0  # steps that had to admit the longest wait, and did

    def before_step(self) -> None:
        """Note the waiting turns, and those that will be overdue in the coming step."""
        scheduler = self._scheduler
        now_s, turns = self._engine.clock.now_s + STEP_S, scheduler.lifecycle.turns
        self._tokens = {request: request.num_tokens for request in scheduler.waiting}
        since_s = {request: turns[request.request_id].arrival_s for request in self._tokens}
        self._overdue = {each for each in since_s if now_s - since_s[each] > scheduler.settings.max_wait_s}
        longest_s = min((since_s[each] for each in self._overdue), default=None)
        self._longest = {each for each in self._overdue if since_s[each] == longest_s}  # there may be several
        self._reserved = self._passing_over.reserved(self._queue, now_s)

    def check(self) -> None:
        """To be called after the step."""
        admitted = self._tokens.keys() & set(self._scheduler.running)
        if self._tokens:  # otherwise the account was not touched
            earned = self._scheduler.settings.admission.overdue_share * self._engine.budgets[-1]
            self._debt = max(self._debt - earned, 0.0)
        if self._longest and admitted and not self._debt and not self._may_be_passed(admitted):
            assert self._longest & admitted, "the longest wait was passed over without a debt"
            self.owed += 1
        self._debt = max([self._debt, *(self._tokens[each] for each in admitted & self._overdue)])

    def _may_be_passed(self, admitted: set[Request]) -> bool:
        """Whether the longest wait lacks a grammar (or ended without one) or a slot for its adapter, is passed over for
        a bounded time for lack of blocks, or comes after a reserved turn."""
        deferred = getattr(self._scheduler, "deferred_waiting", set())
        wanting = {each for each in self._longest if each in deferred or not self._offered(each)}
        passing_s, now_s = self._scheduler.settings.admission.pass_over_s, self._engine.clock.now_s
        since_s = self._passing_over.since_s
        passed = {each for each in self._longest if now_s - since_s.get(each, float("-inf")) < passing_s}
        ended = any(each.is_finished() for each in self._longest)
        return bool(wanting or passed or ended or self._reserved in admitted)

    def _offered(self, request: Request) -> bool:
        return request not in self._queue or self._queue.offers(request)

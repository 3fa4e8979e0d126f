"""Lightning's DDP for processes that are there already and modules that share by themselves."""

from __future__ import annotations

from typing import cast

from lightning.fabric.plugins import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from kan_exp.errors import KanExpError
from kan_exp.ranks.processes import Member

HOST = "127.0.0.1"  # all ranks are on this machine


class RankEnvironment(ClusterEnvironment):
    """Tells Lightning which of the processes this one is."""

    def __init__(self, member: Member) -> None:
        super().__init__()
        self.member = member

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return HOST

    @property
    def main_port(self) -> int:
        return 0  # the system chooses one, see `RankStrategy.setup_distributed`

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self.member.count

    def set_world_size(self, size: int) -> None:
        """It is known from the start."""

    def global_rank(self) -> int:
        return self.member.rank

    def set_global_rank(self, rank: int) -> None:
        """It is known from the start."""

    def local_rank(self) -> int:
        return self.member.rank

    def node_rank(self) -> int:
        return 0

    def teardown(self) -> None:
        self.member.part()


class RankStrategy(DDPStrategy):
    """DDP without the wrapper around the module, and without Lightning's way of starting ranks.

    The wrapper's reducer expects one backward pass for each forward pass, and `KANModule` does many
    of both in a step of the trainer: `SharedModule` adds up gradients itself. Lightning would start
    ranks when the training begins, by the command line, as further runs that write their own files.
    """

    @property
    def _member(self) -> Member:
        return cast(RankEnvironment, self.cluster_environment).member

    def _configure_launcher(self) -> None:
        """The ranks are there."""

    def setup_distributed(self) -> None:
        self.set_world_ranks()
        member, device = self._member, self.root_device
        if member.rank == 0:
            # A port that rank 0 holds from its choice on: a free one that is only looked up could
            # be another's by the time it is used.
            store = TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
            member.share_port(store.port)
        else:
            store = TCPStore(HOST, member.share_port(None), is_master=False)
        on_gpu = device.type == "cuda"
        distributed.init_process_group(
            self.process_group_backend or ("nccl" if on_gpu else "gloo"),
            store=store,
            rank=member.rank,
            world_size=member.count,
            device_id=device if on_gpu else None,
        )

    def configure_ddp(self) -> None:
        """Gives every rank the numbers of rank 0, as the wrapper would."""
        assert self.lightning_module is not None
        for part in self.lightning_module.state_dict().values():
            distributed.broadcast(part, src=0)

    def on_exception(self, exception: BaseException) -> None:
        super().on_exception(exception)
        if isinstance(exception, Exception) and not isinstance(exception, KanExpError):
            self._member.look_for_lost()

    def teardown(self) -> None:
        super().teardown()
        if distributed.is_initialized():
            distributed.destroy_process_group()

"""Lightning's DDP for processes that run already and modules that add up gradients themselves."""

from __future__ import annotations

from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import distributed

from kan_exp.ranks.processes import Rank


class RankEnvironment(LightningEnvironment):
    """Describes the processes to Lightning."""

    def __init__(self, rank: Rank) -> None:
        super().__init__()
        self.rank = rank

    @property
    def creates_processes_externally(self) -> bool:
        return True

    def local_rank(self) -> int:
        return self.rank.number


class RankStrategy(DDPStrategy):
    """DDP without the wrapper around the module.

    The wrapper's reducer expects one backward pass for each forward pass. `KANModule` does many of
    both in a step of the trainer, and `SharedModule` adds up the gradients.
    """

    @property
    def launcher(self) -> None:
        """None: Lightning's would start no process, but override the number of threads."""

    def setup_distributed(self) -> None:
        environment = self.cluster_environment
        assert isinstance(environment, RankEnvironment)
        rank, device = environment.rank, self.root_device
        on_gpu = device.type == "cuda"
        # By a file: a port that is looked up could be taken by another program before it is used.
        distributed.init_process_group(
            self.process_group_backend or ("nccl" if on_gpu else "gloo"),
            init_method=f"file://{rank.store}",
            rank=rank.number,
            world_size=rank.count,
            device_id=device if on_gpu else None,
        )
        super().setup_distributed()

    def configure_ddp(self) -> None:
        """Gives every rank the values of rank 0, as the wrapper would."""
        assert self.lightning_module is not None
        for part in self.lightning_module.state_dict().values():
            distributed.broadcast(part, src=0)

    def teardown(self) -> None:
        super().teardown()
        if distributed.is_initialized():
            distributed.destroy_process_group()

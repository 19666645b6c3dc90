"""This trainer: its own runtime, input and program, as `python -m trainer` puts them together."""

from benchmarks.work import Work, report
from strategies.choose import Choice
from strategies.devices import local_devices
from strategies.mirrored import MirroredRuntime
from strategies.runtime import State
from trainer import input_pipeline
from trainer.schedule import Schedule
from trainer.steps import TrainingProgram


def main() -> None:
    work = Work.from_args()
    dataset, order = work.dataset(), work.order
    runtime = MirroredRuntime.create(Choice("mirrored", ""), None, local_devices(1))
    per_loop = input_pipeline.choose_steps_per_loop(dataset.train, order, 1, 0, None)
    feed = input_pipeline.InputPipeline(dataset.train, order, 1, range(1), per_loop, "resident")
    program = TrainingProgram(work.config, dataset)
    weights = program.initial_weights()
    state = State(weights, program.initial_slots(weights))
    runtime.start(program, state, feed, feed, work.steps)

    def train(first_step: int, end_step: int) -> float:
        schedule = Schedule(end_step, order.steps_per_epoch, per_loop, 0, 0)
        elements = feed.elements(schedule.loops(first_step))
        for loop, element in zip(schedule.loops(first_step), elements, strict=True):
            runtime.run(loop.first_step, loop.num_steps, element, stop=False)
        sums = runtime.collect()
        return float(sums[0] / sums[2])

    report(work, train)


if __name__ == "__main__":
    main()

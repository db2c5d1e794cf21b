"""The command line ``fedjax-layers``: flags and display. The packages below do what a command asks for."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence

from fedjax_layers.cli.interrupt import INTERRUPTED, Interrupt, graceful_interrupt
from fedjax_layers.cli.output import Output
from fedjax_layers.cli.overview import ASKED, is_overview, print_overview
from fedjax_layers.cli.status import Status

_LONG = ("run", "compare", "sweep", "pretrain", "verify")  # commands that report what they do from the start


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command of the command line.

    Returns:
      The exit code: 0 for success, 2 for bad input or a disk that cannot be written (one line says which), 3 for a
      run that diverged, 130 if interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    output = Output.asked(arguments)
    console = output.console()
    try:
        with (
            graceful_interrupt(console, grace=0) as interrupt,
            Status(console, output) as status,
            _warnings_in_a_line(quiet=output.quiet),
        ):
            return _command(arguments, status, interrupt)
    except BrokenPipeError:  # the reader of the output, such as `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python's own flush at its end would fail too
        return 0
    except KeyboardInterrupt:  # Ctrl-C before the first round, or a second one during a run
        print("fedjax-layers: interrupted", file=sys.stderr)  # noqa: T201
        if argv is None:  # the process ends here: threads that still compile would crash Python's own ending
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        return INTERRUPTED


def _command(arguments: list[str], status: Status, interrupt: Interrupt) -> int:
    if is_overview(arguments):
        print_overview(arguments)
        return 0
    if (len(arguments) > 1 and arguments[0] in _LONG and not {*ASKED} & set(arguments)) or arguments == ["compare"]:
        status.say("starting")
    with interrupt.held():
        _one_device_per_core()
        from fedjax_layers.cli.arguments import parse  # noqa: PLC0415  (after the number of devices is set)
        from fedjax_layers.cli.usage import UsageError  # noqa: PLC0415
        from fedjax_layers.host_memory import TooLargeError  # noqa: PLC0415
        from fedjax_layers.storage import StorageError  # noqa: PLC0415

    try:
        options = parse(arguments)
        options.status = status
        if hasattr(options, "compilation_cache"):
            _keep_programs(options.compilation_cache)
        # Only this command's module is imported, so that an error message need not wait for the others.
        with interrupt.held():
            module = importlib.import_module(f"fedjax_layers.cli.{options.command}")
        code: int = module.command(options)
        sys.stdout.flush()
        return code
    except SystemExit as done:  # raised after printing help
        return int(done.code or 0)
    except (UsageError, StorageError, TooLargeError) as error:
        from fedjax_layers.cli.flag_names import with_flags  # noqa: PLC0415

        status.stop()
        told = with_flags(str(error), arguments) if isinstance(error, UsageError) else str(error)
        print(f"fedjax-layers: {told}", file=sys.stderr)  # noqa: T201
        return error.code if isinstance(error, UsageError) else 2


def _keep_programs(where: str | None) -> None:
    from fedjax_layers.cli.compilation_cache import use_compilation_cache  # noqa: PLC0415
    from fedjax_layers.cli.usage import UsageError  # noqa: PLC0415

    try:
        use_compilation_cache(where)
    except ValueError as error:
        raise UsageError(str(error)) from error


@contextlib.contextmanager
def _warnings_in_a_line(*, quiet: bool = False) -> Iterator[None]:
    """Show each warning once as one line on stderr, without a source location, or none of them if ``quiet``.

    This package's own are always shown.
    """
    shown: set[str] = set()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        text = " ".join(str(message).split())
        if text not in shown and not quiet:
            shown.add(text)
            print(f"warning: {text}", file=sys.stderr)  # noqa: T201

    with warnings.catch_warnings():
        warnings.showwarning = show
        if not sys.warnoptions:
            warnings.filterwarnings("always", category=UserWarning, module=r"fedjax_layers\.")
        yield


def _one_device_per_core() -> None:
    """Make one CPU device per core, over which clients are spread, unless the user has set another number."""
    import jax  # noqa: PLC0415

    flags = os.environ.get("XLA_FLAGS", "")
    if "JAX_NUM_CPU_DEVICES" in os.environ or "xla_force_host_platform_device_count" in flags:
        return
    try:
        jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
    except (RuntimeError, AttributeError):  # a backend runs already (in tests), or the system has no CPU affinity
        return

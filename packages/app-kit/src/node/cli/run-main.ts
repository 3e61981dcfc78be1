import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import { describeError } from '../../errors.js';
import { cannotWrite } from '../write-file.js';
import { EXIT_INTERRUPTED, exitCodeOf } from './exit-code.js';
import type { Io } from './io.js';
import { runCommandLine } from './run-command-line.js';

/** The whole of a program's main module: this process's arguments, streams, Ctrl-C and exit code. */
export async function runMain(createProgram: (io: Io) => CommandUnknownOpts): Promise<void> {
  const controller = new AbortController();
  let interruptions = 0;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      // On the second signal the user does not want to wait for a clean end.
      if (++interruptions > 1) process.exit(EXIT_INTERRUPTED);
      controller.abort();
    });
  }
  // `... | head -1` closes the pipe early; that is no failure.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    process.stderr.write(`${describeError(cannotWrite('standard output', error))}\n`);
    process.exit(exitCodeOf(error));
  });
  const { stdin, stdout, stderr } = process;
  const io: Io = { stdin, stdout, stderr, signal: controller.signal };
  process.exitCode = await runCommandLine(createProgram(io), process.argv.slice(2), io);
  // Reading a pipe that stays open must not keep the process alive after the result.
  stdin.unref?.();
}

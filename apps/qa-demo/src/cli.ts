#!/usr/bin/env node
import { main } from './main.js';
import { describeError, EXIT_INTERRUPTED, exitCodeOf } from './output/errors.js';
import { cannotWrite } from './output/write-file.js';

const controller = new AbortController();
let interruptions = 0;
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    // The second time the user does not want to wait for a clean end.
    if (++interruptions > 1) process.exit(EXIT_INTERRUPTED);
    controller.abort();
  });
}
// `pnpm qa ask ... | head -1` closes the pipe early; that is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  process.stderr.write(`${describeError(cannotWrite('standard output', error))}\n`);
  process.exit(exitCodeOf(error));
});

const { stdin, stdout, stderr } = process;
process.exitCode = await main(process.argv.slice(2), { stdin, stdout, stderr, signal: controller.signal });
// Reading a pipe that stays open must not keep the process alive after the answer.
stdin.unref?.();

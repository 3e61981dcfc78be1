import type { Command, Options } from './args/command.js';
import { commandHelp, generalHelp } from './args/help.js';
import { parseOptions, seeHelp } from './args/parse.js';
import { UsageError } from './args/usage-error.js';
import { ask } from './commands/ask.js';
import { engineHost } from './commands/engine-host.js';
import { evaluate } from './commands/eval.js';
import { start } from './commands/start.js';
import { type Io, note, print } from './io.js';
import { describeError, exitCodeOf, reportOf } from './output/errors.js';
import { version } from './version.js';

/** A command whose options are known only to itself. */
interface Runnable {
  readonly command: Command;
  /** @throws UsageError that points to this command's help. */
  execute(args: readonly string[], io: Io): Promise<number>;
}

function runnable<O extends Options>(command: Command<O>): Runnable {
  return {
    command: { ...command, run: async () => 0 },
    async execute(args, io) {
      try {
        return await command.run(parseOptions(command, args), io);
      } catch (error) {
        // Checks that commands share do not know for which of them they speak.
        if (!(error instanceof UsageError) || command.isInternal) throw error;
        throw new UsageError(error.message, seeHelp(command.name));
      }
    },
  };
}

const commands: readonly Runnable[] = [
  runnable(ask),
  runnable(evaluate),
  runnable(start),
  runnable(engineHost),
];

/** Runs one command line. Returns the exit code; never throws. */
export async function main(args: readonly string[], io: Io): Promise<number> {
  const isJson = args.includes('--json');
  try {
    return await dispatch(args, io);
  } catch (error) {
    // Whatever fails after an abort fails because of it.
    const shown = io.signal.aborted ? io.signal.reason : error;
    if (isJson) print(io, JSON.stringify({ error: reportOf(shown) }));
    else note(io, describeError(shown));
    return exitCodeOf(shown);
  }
}

async function dispatch(args: readonly string[], io: Io): Promise<number> {
  const [name, ...rest] = args;
  const listed = commands.map((each) => each.command);
  if (name === undefined) throw new UsageError('no command given', seeHelp());
  if (name === '--help' || name === '-h' || name === 'help') {
    print(io, generalHelp(listed));
    return 0;
  }
  if (name === '--version') {
    print(io, `topk-qa ${version()}, Node ${process.versions.node}`);
    return 0;
  }
  const found = commands.find((each) => each.command.name === name);
  if (found === undefined) {
    const names = listed.filter((each) => !each.isInternal).map((each) => each.name);
    throw new UsageError(`unknown command '${name}'; the commands are ${names.join(', ')}`, seeHelp());
  }
  if (rest.includes('--help') || rest.includes('-h')) {
    print(io, commandHelp(found.command));
    return 0;
  }
  if (rest.includes('--version')) return dispatch(['--version'], io);
  return found.execute(rest, io);
}

import { Command, type CommandUnknownOpts, type Io, packageVersion } from '@topk-attention/app-kit/node';
import { evalCommand } from './commands/eval.js';
import { generateCommand } from './commands/generate.js';
import { tasksCommand } from './commands/tasks.js';
import { trainCommand } from './commands/train.js';

/** The whole command line, as it is called from the root of the repository. */
export function createProgram(io: Io): CommandUnknownOpts {
  const version = packageVersion(new URL('../package.json', import.meta.url));
  return new Command('pnpm lra')
    .description('The Long Range Arena: exact, top-k and Performer attention, trained side by side.')
    .usage('<command> [options]')
    .version(`topk-lra ${version}, Node ${process.versions.node}`, '--version', 'print versions')
    .addCommand(tasksCommand(io))
    .addCommand(generateCommand(io))
    .addCommand(trainCommand(io))
    .addCommand(evalCommand(io))
    .addHelpText(
      'after',
      '\nExit codes: 0 done, 1 failed, 2 wrong use of the command line, 130 interrupted.',
    );
}

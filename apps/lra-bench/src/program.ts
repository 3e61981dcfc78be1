import { Command, type CommandUnknownOpts, type Io } from '@topk-attention/app-kit/node';
import { benchCommand } from './commands/bench.js';
import { compareCommand } from './commands/compare.js';
import { evalCommand } from './commands/eval.js';
import { generateCommand } from './commands/generate.js';
import { needlesCommand } from './commands/needles/needles.js';
import { quickCommand } from './commands/quick.js';
import { reportCommand } from './commands/report.js';
import { tasksCommand } from './commands/tasks.js';
import { trainCommand } from './commands/train.js';
import type { Host } from './host.js';

/** The whole command line, as it is called from the root of the repository. */
export function createProgram(io: Io, host: Host): CommandUnknownOpts {
  return new Command('pnpm lra')
    .description('The Long Range Arena: exact, top-k and Performer attention, trained side by side.')
    .usage('<command> [options]')
    .version(`topk-lra ${host.version}, Node ${process.versions.node}`, '--version', 'print versions')
    .addCommand(tasksCommand(io))
    .addCommand(generateCommand(io))
    .addCommand(trainCommand(io, host))
    .addCommand(evalCommand(io, host))
    .addCommand(benchCommand(io, host))
    .addCommand(compareCommand(io, host))
    .addCommand(needlesCommand(io, host))
    .addCommand(reportCommand(io))
    .addCommand(quickCommand(io, host))
    .addHelpText(
      'after',
      '\nExit codes: 0 done, 1 failed, 2 wrong use of the command line, 130 interrupted.',
    );
}

import { Command, type CommandUnknownOpts, type Io } from '@topk-attention/app-kit/node';
import { curvesCommand } from './commands/curves.js';
import { sampleCommand } from './commands/sample.js';
import { trainCommand } from './commands/train.js';

export function createProgram(io: Io): CommandUnknownOpts {
  return new Command('language-model')
    .description('A small language model with exact, top-k or linear attention.')
    .usage('<command> [options]')
    .addCommand(trainCommand(io))
    .addCommand(sampleCommand(io))
    .addCommand(curvesCommand(io))
    .addHelpText(
      'after',
      '\nExit codes: 0 done, 1 failed, 2 wrong use of the command line, 130 interrupted.',
    );
}

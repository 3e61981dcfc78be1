import { Command, type CommandUnknownOpts, type Io } from '@topk-attention/app-kit/node';
import type { Host } from '../../host.js';
import { needlesEvalCommand } from './eval.js';
import { needlesTrainCommand } from './train.js';

/** `needles`: a small causal model that finds a value in noise, at lengths far beyond those of its training. */
export function needlesCommand(io: Io, host: Host): CommandUnknownOpts {
  return new Command('needles')
    .summary('finds a value in noise, at lengths far beyond those of the training')
    .description(
      'A key and its value in noise, and a question at the end: trains a small causal model on short rows, and asks it in long ones.',
    )
    .usage('train|eval [options]')
    .addCommand(needlesTrainCommand(io, host))
    .addCommand(needlesEvalCommand(io, host));
}

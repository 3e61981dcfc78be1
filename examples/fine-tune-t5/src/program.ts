import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { backendWarning, textTable } from '@topk-attention/app-kit';
import { chooseBackend } from '@topk-attention/app-kit/backends';
import {
  type BackendOptions,
  backendCommand,
  backendSettings,
  type Command,
  type CommandUnknownOpts,
  type Io,
  note,
  ProgressBar,
  positiveNumber,
  print,
  wholeNumber,
} from '@topk-attention/app-kit/node';
import { TopKError } from '@topk-attention/core';
import { type ComparedRun, compare } from './compare.js';
import { readStories } from './stories.js';
import { type Question, whoIsIn } from './who-is-in.js';

type Options = BackendOptions & {
  train: string;
  test: string;
  model: string;
  feedForwardK?: number;
  steps: number;
  batch: number;
  learningRate: number;
  seeds: number;
  testQuestions: number;
};

/** Of the places that the questions are about. */
const QUESTION_SEED = 1;

const notes = `
The files are those of bAbI's task 1, qa1_single-supporting-fact_train.txt and _test.txt. The model has learned the
task; what it is fine-tuned on is a question that bAbI never asks: "Who is in the kitchen?"

Example:
  fine-tune-t5 --train qa1_single-supporting-fact_train.txt --test qa1_single-supporting-fact_test.txt`;

export function createProgram(io: Io): CommandUnknownOpts {
  const embedded = fileURLToPath(new URL('../../../apps/qa-demo/model', import.meta.url));
  const command: Command<[], Options> = backendCommand('fine-tune-t5')
    .description('Fine-tunes a T5 with exact and with top-k feed-forward layers, and compares the answers.')
    .usage('--train FILE --test FILE [options]')
    .requiredOption('--train <FILE>', 'stories to train on')
    .requiredOption('--test <FILE>', 'stories to test on')
    .option('--model <DIR>', 'a Hugging Face folder of a T5', embedded)
    .option(
      '--feed-forward-k <N>',
      'hidden units that each token keeps (default: a twelfth of them)',
      wholeNumber,
    )
    .option('--steps <N>', 'steps', wholeNumber, 300)
    .option('--batch <N>', 'questions in a step', wholeNumber, 32)
    .option('--learning-rate <RATE>', "AdamW's rate after the warm-up", positiveNumber, 5e-4)
    .option('--seeds <N>', 'runs each', wholeNumber, 3)
    .option('--test-questions <N>', 'only the first N questions of the test', wholeNumber, 1000)
    .addHelpText('after', notes);
  return command.action((options) => run(options, io));
}

async function run(options: Options, io: Io): Promise<void> {
  const train = questionsOf(options.train);
  const test = questionsOf(options.test).slice(0, options.testQuestions);
  const { backend, info } = await chooseBackend(backendSettings(options));
  const bar = new ProgressBar(io.stderr, options.json);
  try {
    const warning = backendWarning(info);
    if (warning !== undefined) note(io, warning);
    const runs = await compare(backend, {
      ...{ model: options.model, train, test, steps: options.steps, batchSize: options.batch },
      learningRate: options.learningRate,
      seeds: Array.from({ length: options.seeds }, (_, at) => at + 1),
      ...(options.feedForwardK !== undefined && { feedForwardK: options.feedForwardK }),
      onProgress: (done, total, label) => bar.update(done, total, label, true),
      signal: io.signal,
    });
    bar.clear();
    if (options.json) print(io, JSON.stringify({ engine: info, questions: test.length, runs }));
    else print(io, `${tableOf(runs)}\n\n${test.length} questions; ${info.description}`);
  } finally {
    bar.clear();
    await backend.dispose();
  }
}

function questionsOf(path: string): readonly Question[] {
  try {
    return whoIsIn(readStories(readFileSync(path, 'utf8'), path), QUESTION_SEED);
  } catch (cause) {
    if (cause instanceof TopKError) throw cause;
    throw new TopKError('FILE_NOT_FOUND', `${path} cannot be read`, {
      got: cause instanceof Error ? cause.message : String(cause),
      fix: 'Look at the path',
      cause,
    });
  }
}

function tableOf(runs: readonly ComparedRun[]): string {
  return textTable({
    columns: [
      { title: 'feed-forward' },
      { title: 'seed', align: 'right' },
      { title: 'right answers', align: 'right' },
      { title: 'loss at the end', align: 'right' },
    ],
    rows: runs.map(({ feedForward, seed, accuracy, loss }) => [
      feedForward,
      seed === undefined ? 'before' : String(seed),
      `${(100 * accuracy).toFixed(1)} %`,
      loss?.toFixed(4) ?? '',
    ]),
  });
}

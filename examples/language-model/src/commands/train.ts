import { basename } from 'node:path';
import { backendWarning } from '@topk-attention/app-kit';
import { chooseBackend } from '@topk-attention/app-kit/backends';
import {
  type BackendOptions,
  backendCommand,
  backendSettings,
  type Command,
  type CommandUnknownOpts,
  type Io,
  layerCount,
  note,
  Option,
  ProgressBar,
  positiveNumber,
  print,
  wholeNumber,
} from '@topk-attention/app-kit/node';
import { embeddedText } from '../embedded-text.js';
import { type MechanismName, mechanismNames } from '../model.js';
import { small, tiny } from '../presets.js';
import { readTextFile, splitText } from '../read-text.js';
import { type RunConfig, RunFolder } from '../run-folder.js';
import { buildTokenizer, type TokenKind, tokenKinds } from '../tokenizer.js';
import { trainRun } from '../train-run.js';
import { fraction } from './option-values.js';

type TrainOptions = BackendOptions & {
  data?: string;
  test?: string;
  name?: string;
  tokens: TokenKind;
  mostTokens: number;
  mechanism: MechanismName;
  k: number;
  features?: number;
  layers?: number;
  width?: number;
  heads?: number;
  context?: number;
  dropout?: number;
  steps?: number;
  batch?: number;
  learningRate?: number;
  warmup?: number;
  evalSteps?: number;
  evalWindows?: number;
  seed: number;
  sample: number;
  out?: string;
  resume?: true;
};

const notes = `
Without --data it trains on a short text of its own, with sizes for seconds on a CPU; the sizes for a text of
yours are for a GPU. The folder --out holds config.json, vocabulary.json, metrics.jsonl, checkpoints and, at the
end, result.json. Stop a run whenever you like: the same command with --resume goes on from its last checkpoint.

Examples:
  language-model train
  language-model train --data input.txt --mechanism top-k --k 64 --seed 1 --out runs/top-k-64-1
  language-model train --data wiki.valid.tokens --test wiki.test.tokens --tokens words --context 256 --out runs/words`;

/** `train`: a model from a text. */
export function trainCommand(io: Io): CommandUnknownOpts {
  const command: Command<[], TrainOptions> = backendCommand('train')
    .summary('trains a model on a text')
    .description('Trains a model on a text, and tests it on another or on the last tenth.')
    .usage('[--data FILE] [--mechanism NAME] [--out DIR [--resume]] [options]')
    .optionsGroup('Text:')
    .option('--data <FILE>', 'the text (default: a short one that comes along)')
    .option('--test <FILE>', 'the text to test on (default: the last tenth of --data)')
    .option('--name <TEXT>', 'what loss curves call the text (default: the name of its file)')
    .addOption(
      new Option('--tokens <KIND>', 'what the model reads')
        .choices(tokenKinds)
        .default('characters' as const),
    )
    .option('--most-tokens <N>', 'size of the vocabulary: the most frequent tokens', wholeNumber, 4096)
    .optionsGroup('Model:')
    .addOption(
      new Option('--mechanism <NAME>', 'attention').choices(mechanismNames).default('top-k' as const),
    )
    .option('--k <N>', 'keys that each query keeps, with top-k', wholeNumber, 64)
    .option('--features <N>', 'random features, with performer', wholeNumber)
    .option('--layers <N>', 'layers', layerCount)
    .option('--width <N>', 'width of the layers', wholeNumber)
    .option('--heads <N>', 'attention heads', wholeNumber)
    .option('--context <N>', 'tokens that the model sees at once', wholeNumber)
    .option('--dropout <RATE>', 'of embeddings and of the outputs of sublayers', fraction)
    .optionsGroup('Training:')
    .option('--steps <N>', 'steps', wholeNumber)
    .option('--batch <N>', 'windows of text in a step', wholeNumber)
    .option('--learning-rate <RATE>', "AdamW's rate after the warm-up", positiveNumber)
    .option('--warmup <N>', 'steps in which the rate rises', wholeNumber)
    .option('--eval-steps <N>', 'steps between two tests', wholeNumber)
    .option('--eval-windows <N>', 'windows in a test; at the end the whole text', wholeNumber)
    .option('--seed <N>', 'of first values, order and dropout', wholeNumber, 1)
    .option('--sample <N>', 'tokens of the sample at the end', wholeNumber, 200)
    .option('--out <DIR>', 'the folder of the run (default: nothing is written)')
    .option('--resume', 'go on where a run with the same --out stopped')
    .addHelpText('after', notes);
  return command.action(async (options) => {
    if (options.test !== undefined && options.data === undefined) command.error('--test needs --data');
    if (options.resume && options.out === undefined) command.error('--resume needs --out');
    await runTrain(options, io);
  });
}

async function runTrain(options: TrainOptions, io: Io): Promise<void> {
  const { data, test, tokens, mostTokens, out, resume, json, sample } = options;
  const text = data === undefined ? embeddedText : readTextFile(data);
  const texts = test === undefined ? splitText(text) : { train: text, test: readTextFile(test) };
  const tokenizer = buildTokenizer(tokens, texts.train, mostTokens);
  const { backend, info } = await chooseBackend(backendSettings(options));
  const bar = new ProgressBar(io.stderr, json);
  try {
    const warning = backendWarning(info);
    if (warning !== undefined) note(io, warning);
    const config = configOf(options, tokenizer.vocabulary.length, info.description);
    const folder = out === undefined ? undefined : new RunFolder(out);
    let shown = '';
    const result = await trainRun(backend, config, tokenizer, texts, {
      ...{ sampleLength: sample, signal: io.signal },
      ...(folder && { folder }),
      ...(resume && { resume }),
      onLog: ({ eval_loss: loss }) => {
        if (loss !== undefined) shown = `, test loss ${loss.toFixed(3)}`;
      },
      onProgress: (done, total) => bar.update(done, total, `training${shown}`, true),
    });
    bar.clear();
    const figures = `${result.unit} ${result.value.toFixed(3)} (loss ${result.loss.toFixed(4)})`;
    print(
      io,
      json ? JSON.stringify({ config, result }) : `${result.sample}\n\n${figures}, ${info.description}`,
    );
  } finally {
    bar.clear();
    await backend.dispose();
  }
}

function configOf(options: TrainOptions, vocabulary: number, engine: string): RunConfig {
  const preset = options.data === undefined ? tiny : small;
  const { model, training } = preset;
  return {
    name: options.name ?? (options.data === undefined ? 'embedded text' : basename(options.data)),
    tokens: options.tokens,
    model: {
      vocabulary,
      context: options.context ?? model.context,
      layers: options.layers ?? model.layers,
      width: options.width ?? model.width,
      heads: options.heads ?? model.heads,
      mechanism: options.mechanism,
      k: options.k,
      features: options.features ?? model.features,
      dropout: options.dropout ?? model.dropout,
    },
    training: {
      steps: options.steps ?? training.steps,
      batchSize: options.batch ?? training.batchSize,
      learningRate: options.learningRate ?? training.learningRate,
      warmupSteps: options.warmup ?? Math.min(training.warmupSteps, options.steps ?? training.steps),
      weightDecay: training.weightDecay,
      evalSteps: options.evalSteps ?? training.evalSteps,
      evalWindows: options.evalWindows ?? training.evalWindows,
    },
    seed: options.seed,
    engine,
  };
}

import { basename } from 'node:path';
import { seededRandom } from '@topk-attention/app-kit';
import { chooseBackend } from '@topk-attention/app-kit/backends';
import {
  type BackendOptions,
  backendCommand,
  backendSettings,
  type Command,
  type CommandUnknownOpts,
  type Io,
  note,
  Option,
  ProgressBar,
  print,
  wholeNumber,
} from '@topk-attention/app-kit/node';
import { type Backend, TopKError } from '@topk-attention/core';
import { disposeParameters, summary } from '@topk-attention/nn';
import { embeddedText } from '../embedded-text.js';
import { inUnits, meanLoss } from '../evaluate.js';
import { type LanguageModel, languageModel, type MechanismName, mechanismNames } from '../model.js';
import { small, tiny } from '../presets.js';
import { readTextFile, splitText } from '../read-text.js';
import { type RunConfig, RunFolder, type RunResult } from '../run-folder.js';
import { sample } from '../sample.js';
import { buildTokenizer, type Tokenizer, type TokenKind, tokenKinds } from '../tokenizer.js';
import { trainModel } from '../train-model.js';
import { windowsOf } from '../windows.js';
import { fraction, positiveNumber } from './option-values.js';

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
    .option('--layers <N>', 'layers', wholeNumber)
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
  const { train, test } = readTexts(options);
  const tokenizer = buildTokenizer(options.tokens, train, options.mostTokens);
  const { backend, info } = await chooseBackend(backendSettings(options));
  try {
    if (info.warning !== undefined) note(io, info.warning);
    const config = configOf(options, tokenizer.vocabulary.length, info.description);
    const result = await trainAndTest(backend, config, tokenizer, { train, test }, options, io);
    if (options.json) print(io, JSON.stringify({ config, result }));
    else
      print(
        io,
        `${result.sample}\n\n${result.unit} ${result.value.toFixed(3)} (loss ${result.loss.toFixed(4)}), ${info.description}`,
      );
  } finally {
    await backend.dispose();
  }
}

interface Texts {
  readonly train: string;
  readonly test: string;
}

function readTexts({ data, test }: TrainOptions): Texts {
  const text = data === undefined ? embeddedText : readTextFile(data);
  return test === undefined ? splitText(text) : { train: text, test: readTextFile(test) };
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

async function trainAndTest(
  backend: Backend,
  config: RunConfig,
  tokenizer: Tokenizer,
  texts: Texts,
  { out, resume, json, sample: length }: TrainOptions,
  io: Io,
): Promise<RunResult> {
  const { context } = config.model;
  const [train, test] = [tokenizer.encode(texts.train), tokenizer.encode(texts.test)];
  const trainWindows = windowsOf(train, context, 1);
  const testWindows = windowsOf(test, context, context);
  if (trainWindows.length < config.training.batchSize || testWindows.length === 0) {
    throw new TopKError('INVALID_OPTION', 'the text is too short', {
      expected: `more than ${context + config.training.batchSize} tokens to train on, and ${context + 1} to test on`,
      got: `${train.length} and ${test.length}`,
      fix: 'Take a longer text, or a smaller --context',
    });
  }
  const model = languageModel(config.model);
  const folder = out === undefined ? undefined : new RunFolder(out);
  folder?.begin(config, tokenizer.vocabulary);
  const bar = new ProgressBar(io.stderr, json);
  let shown = '';
  const parameters = await trainModel(backend, model, {
    ...{ trainWindows, testWindows, training: config.training, seed: config.seed, signal: io.signal },
    ...(folder && { folder }),
    ...(resume && { resume }),
    onLog: ({ eval_loss: loss }) => {
      if (loss !== undefined) shown = `, test loss ${loss.toFixed(3)}`;
    },
    onProgress: (done, total) => bar.update(done, total, `training${shown}`, true),
  }).finally(() => bar.clear());
  try {
    const { batchSize } = config.training;
    const loss = await meanLoss(model, parameters, testWindows, { batchSize });
    const result: RunResult = {
      loss,
      ...inUnits(config.tokens, loss),
      parameters: summary(model).count,
      trainTokens: train.length,
      testTokens: test.length,
      sample: await sampleOf(model, parameters, tokenizer, test.subarray(0, 1), length, config, io),
    };
    folder?.end(result);
    return result;
  } finally {
    disposeParameters(parameters);
  }
}

/** Goes on from the first token of the test text. */
async function sampleOf(
  model: LanguageModel,
  parameters: Parameters<typeof sample>[1],
  tokenizer: Tokenizer,
  prompt: Int32Array,
  length: number,
  { model: { context }, seed }: RunConfig,
  { signal }: Io,
): Promise<string> {
  const written = await sample(model, parameters, prompt, {
    length: Math.min(length, context - prompt.length),
    ...{ temperature: 0.8, top: 40, random: seededRandom(seed), signal },
  });
  return tokenizer.decode([...prompt, ...written]);
}

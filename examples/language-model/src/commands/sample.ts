import { seededRandom } from '@topk-attention/app-kit';
import { chooseBackend } from '@topk-attention/app-kit/backends';
import {
  type BackendOptions,
  backendCommand,
  backendSettings,
  type Command,
  type CommandUnknownOpts,
  type Io,
  print,
  wholeNumber,
} from '@topk-attention/app-kit/node';
import { type Backend, TopKError } from '@topk-attention/core';
import { disposeParameters, loadCheckpoint, type ParameterTree } from '@topk-attention/nn';
import { languageModel } from '../model.js';
import { RunFolder } from '../run-folder.js';
import { sample } from '../sample.js';
import { tokenizerOf } from '../tokenizer.js';
import { temperature } from './option-values.js';

type SampleOptions = BackendOptions & {
  run: string;
  prompt: string;
  length: number;
  temperature: number;
  top: number;
  seed: number;
};

/** `sample`: text from the last checkpoint of a run. */
export function sampleCommand(io: Io): CommandUnknownOpts {
  const command: Command<[], SampleOptions> = backendCommand('sample')
    .summary('writes text with a trained model')
    .description('Goes on from a prompt, with the last checkpoint of a run.')
    .usage('--run DIR [--prompt TEXT] [options]')
    .requiredOption('--run <DIR>', 'the --out of train')
    .option('--prompt <TEXT>', 'how the text begins', '\n')
    .option('--length <N>', 'tokens to write, within the context of the model', wholeNumber, 200)
    .option('--temperature <T>', '0 always takes the likeliest token', temperature, 0.8)
    .option('--top <N>', 'chooses among so many tokens', wholeNumber, 40)
    .option('--seed <N>', 'of the choices', wholeNumber, 1);
  return command.action((options) => runSample(options, io));
}

async function runSample(
  { run, prompt, length, json, seed, ...options }: SampleOptions,
  io: Io,
): Promise<void> {
  const folder = new RunFolder(run);
  const config = folder.config();
  const tokenizer = tokenizerOf(config.tokens, folder.vocabulary());
  const ids = tokenizer.encode(prompt);
  const { context } = config.model;
  if (ids.length === 0 || ids.length >= context) {
    throw new TopKError('INVALID_OPTION', 'the prompt does not fit', {
      expected: `1 to ${context - 1} tokens`,
      got: String(ids.length),
    });
  }
  const { backend } = await chooseBackend(backendSettings(options));
  try {
    const parameters = await newestParameters(folder, backend);
    const words = await sample(languageModel(config.model), parameters, ids, {
      ...{ temperature: options.temperature, top: options.top, signal: io.signal },
      length: Math.min(length, context - ids.length),
      random: seededRandom(seed),
    });
    const text = tokenizer.decode([...ids, ...words]);
    print(io, json ? JSON.stringify({ prompt, text }) : text);
    disposeParameters(parameters);
  } finally {
    await backend.dispose();
  }
}

async function newestParameters({ checkpoints, path }: RunFolder, backend: Backend): Promise<ParameterTree> {
  const newest = (await checkpoints.list()).at(-1);
  if (newest === undefined) {
    throw new TopKError('FILE_NOT_FOUND', `${path} has no checkpoint`, { got: 'none', fix: 'Train first' });
  }
  const { parameters, optimizer } = await loadCheckpoint(checkpoints, newest, backend);
  disposeParameters(optimizer.tensors);
  return parameters;
}

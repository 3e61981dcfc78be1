import { type OptionKinds, readOptions, TopKError } from '@topk-attention/core';
import { type FileSource, readText, toFileSource } from '@topk-attention/nn';
import { loadCausalLM } from './causal-lm/load.js';
import type { CausalLM } from './causal-lm/model.js';
import { loadKinds as causalLMKinds, type LoadCausalLMOptions } from './causal-lm/options.js';
import { causalLMTypes } from './causal-lm/parse-config.js';
import { readConfig } from './checkpoint/config-reader.js';
import { CONFIG } from './checkpoint/files.js';
import { encoderTypes } from './encoder/config.js';
import { loadEncoder } from './encoder/load.js';
import type { Encoder } from './encoder/model.js';
import { loadKinds as encoderKinds, type LoadEncoderOptions } from './encoder/options.js';
import { hub } from './hub/hub.js';
import { type HubOptions, hubKinds, isRepoName } from './hub/settings.js';
import { t5Types } from './t5/config.js';
import { loadT5 } from './t5/load.js';
import type { T5 } from './t5/model.js';
import { type LoadT5Options, loadKinds as t5Kinds } from './t5/options.js';

/** A model of any family that `loadModel` knows. `'generate' in model` tells those that write from encoders. */
export type Model = T5 | CausalLM | Encoder;

/** What the loading functions of all families take, and where a repository of the Hub comes from. */
export interface LoadModelOptions
  extends Omit<LoadT5Options, 'source' | 'layers'>,
    Pick<LoadEncoderOptions, 'task'>,
    HubOptions {
  readonly layers?: LoadT5Options['layers'] | LoadCausalLMOptions['layers'];
}

/** Misspelt options are refused before anything is downloaded; whether an option is the family's, the family says. */
const { source: _, ...familyKinds } = { ...t5Kinds, ...causalLMKinds, ...encoderKinds };
const kinds: OptionKinds<LoadModelOptions> = { ...familyKinds, ...hubKinds };

type Load = (options: LoadT5Options & LoadCausalLMOptions & LoadEncoderOptions) => Promise<Model>;

const among = (types: readonly string[], load: Load) => types.map((type) => [type, load] as const);

/** Loading functions by the `model_type` of config.json. */
const families: ReadonlyMap<unknown, Load> = new Map([
  ...among(t5Types, loadT5),
  ...among(causalLMTypes, loadCausalLM),
  ...among(encoderTypes, loadEncoder),
]);

/**
 * A model by its name on the Hugging Face Hub, or from a folder or URL; `model_type` of its config.json says what it is.
 * A text is a folder when it begins with '.', '/', '~' or a drive, a URL when it has '://', else a name on the Hub, also
 * where a folder of that name exists. The options of `hub` are for names only.
 *
 * @throws TopKError UNKNOWN_MODEL_TYPE, what `hub` and its files throw, what the loading function of the family throws
 *
 * @example
 * const model = await loadModel('google/flan-t5-small', { backend, attention: { k: 64 } });
 */
export async function loadModel(
  source: string | URL | FileSource,
  options: LoadModelOptions,
): Promise<Model> {
  const { revision, cacheDir, localFilesOnly, token, endpoint, ...ofFamily } = readOptions(
    'loadModel',
    options,
    kinds,
  );
  const place = given({ revision, cacheDir, localFilesOnly, token, endpoint });
  const { signal, onProgress } = ofFamily;
  const files = openSource(source, place, given({ signal, onProgress }));
  const type = readConfig(
    await readText(files, CONFIG, 'Name a Hugging Face checkpoint'),
    `${files.name}: ${CONFIG}`,
  ).value('model_type');
  const load = families.get(type);
  if (load === undefined) {
    throw new TopKError('UNKNOWN_MODEL_TYPE', `${files.name}: unknown model_type`, {
      expected: `one of ${[...families.keys()].join(', ')}`,
      got: JSON.stringify(type) ?? 'nothing',
      fix: 'Load a model of one of these families',
    });
  }
  return load({ ...ofFamily, source: files } as Parameters<Load>[0]);
}

/** The options that have a value. */
function given(options: { readonly [key in keyof HubOptions]: HubOptions[key] | undefined }): HubOptions {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

function openSource(source: string | URL | FileSource, place: HubOptions, loading: HubOptions): FileSource {
  if (typeof source === 'string' && !isFolder(source) && !source.includes('://')) {
    if (isRepoName(source)) return hub(source, { ...place, ...loading });
    throw new TopKError('INVALID_OPTION', 'loadModel: bad source', {
      expected: "'organisation/name' on the Hub, a folder beginning with './' or '/', a URL or a FileSource",
      got: JSON.stringify(source.slice(0, 120)),
    });
  }
  const [wrong] = Object.keys(place);
  if (wrong !== undefined) {
    throw new TopKError('INVALID_OPTION', `loadModel: ${wrong} is for names on the Hub`, {
      expected: "a source such as 'google/flan-t5-small'",
      got: typeof source === 'string' ? source : 'another source',
      fix: 'Leave the option out',
    });
  }
  return toFileSource('loadModel', source, loading.signal);
}

/** Begins as a path: ./x, ../x, /x, ~/x, .\x, \x, C:\x. */
function isFolder(text: string): boolean {
  return /^(?:[./\\~]|[a-z]:[\\/])/i.test(text) && !text.includes('://');
}

import { readFile } from 'node:fs/promises';
import {
  type ByteSource,
  bytesSource,
  encodeSafetensors,
  openSafetensors,
  type TensorToWrite,
} from '@topk-attention/nn';
import { goldensFolder } from '@topk-attention/t5-goldens';
import type { FileSource } from '../../src/index.js';

/** Files in memory; counts those that are open. */
export class MemorySource implements FileSource {
  readonly name = 'memory';
  readonly files: { [file: string]: string | Uint8Array };
  openFiles = 0;

  constructor(files: { readonly [file: string]: string | Uint8Array }) {
    this.files = { ...files };
  }

  async open(file: string): Promise<ByteSource | undefined> {
    const content = this.files[file];
    if (content === undefined) return undefined;
    const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content;
    this.openFiles++;
    let isOpen = true;
    return {
      ...bytesSource(bytes, `memory: ${file}`),
      close: async () => {
        if (isOpen) this.openFiles--;
        isOpen = false;
      },
    };
  }
}

/** A small random checkpoint of the goldens, with the tokenizer below. */
export async function smallCheckpoint(folder = 't5-v1_0'): Promise<MemorySource> {
  const read = (file: string): Promise<Uint8Array> => readFile(`${goldensFolder}/${folder}/${file}`);
  return new MemorySource({
    'config.json': await read('config.json'),
    'model.safetensors': new Uint8Array(await read('model.safetensors')),
    'tokenizer.json': tokenizerJson(128),
  });
}

/** The same in two shards of these names, with their index. */
export async function shardedCheckpoint(
  names = ['model-0.safetensors', 'model-1.safetensors'],
): Promise<MemorySource> {
  const { 'model.safetensors': whole, ...rest } = (await smallCheckpoint()).files;
  const reader = await openSafetensors(whole as Uint8Array);
  const shards: { [name: string]: TensorToWrite }[] = names.map(() => ({}));
  const weightMap: { [name: string]: string } = {};
  for (const [index, [name, { dtype, shape }]] of [...reader.tensors].entries()) {
    const shard = index % names.length;
    (shards[shard] as (typeof shards)[number])[name] = { dtype, shape, data: await reader.read(name) };
    weightMap[name] = names[shard] as string;
  }
  return new MemorySource({
    ...rest,
    'model.safetensors.index.json': JSON.stringify({ metadata: {}, weight_map: weightMap }),
    ...Object.fromEntries(names.map((name, index) => [name, encodeSafetensors(shards[index] ?? {})])),
  });
}

const SPECIAL = ['<pad>', '</s>', '<unk>'];

/** A tokenizer.json of T5's form: unigram pieces "▁w3", "▁w4", ... and the end of sequence after every text. */
export function tokenizerJson(size: number): string {
  const pieces = Array.from({ length: size - SPECIAL.length }, (_, index) => `▁w${index + SPECIAL.length}`);
  return JSON.stringify({
    version: '1.0',
    added_tokens: SPECIAL.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ Sequence: { id: 'A', type_id: 0 } }, { SpecialToken: { id: '</s>', type_id: 0 } }],
      pair: [],
      special_tokens: { '</s>': { id: '</s>', ids: [1], tokens: ['</s>'] } },
    },
    decoder: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
    model: { type: 'Unigram', unk_id: 2, vocab: [...SPECIAL, ...pieces].map((piece) => [piece, -1]) },
  });
}

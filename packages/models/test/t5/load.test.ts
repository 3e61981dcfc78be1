import type { ErrorCode } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { encodeSafetensors, openSafetensors, type TensorToWrite } from '@topk-attention/nn';
import { goldensFolder, readManifest } from '@topk-attention/t5-goldens';
import { describe, expect, test } from 'vitest';
import { loadT5 } from '../../src/index.js';
import { errorOf } from '../support/errors.js';
import { shardedCheckpoint, smallCheckpoint } from '../support/sources.js';

/** Code of each broken folder of the goldens; null: it loads. */
const codes: { readonly [folder: string]: ErrorCode | null } = {
  control: null,
  empty: 'FILE_TRUNCATED',
  'truncated-length': 'FILE_TRUNCATED',
  'truncated-header': 'FILE_TRUNCATED',
  'truncated-data': 'FILE_TRUNCATED',
  'truncated-last-byte': 'FILE_TRUNCATED',
  'trailing-bytes': 'FILE_CORRUPT',
  'header-length-zero': 'FILE_CORRUPT',
  'header-length-beyond-file': 'FILE_TRUNCATED',
  'header-length-huge': 'FILE_CORRUPT',
  'header-not-json': 'FILE_CORRUPT',
  'header-array': 'FILE_CORRUPT',
  'offsets-beyond-file': 'FILE_CORRUPT',
  'offsets-overlapping': 'FILE_CORRUPT',
  'offsets-reversed': 'FILE_CORRUPT',
  'offsets-negative': 'FILE_CORRUPT',
  'offsets-hole': 'FILE_CORRUPT',
  'shape-mismatch': 'FILE_CORRUPT',
  'shape-huge': 'FILE_CORRUPT',
  'shape-overflow': 'FILE_CORRUPT',
  'shape-negative': 'FILE_CORRUPT',
  // Of the future, perhaps: the file is fine, the weight is none that can be used.
  'dtype-unknown': 'DTYPE_MISMATCH',
  // Two equal entries: the last is taken.
  'duplicate-name': null,
  'missing-weight': 'MISSING_WEIGHT',
  'extra-weight': 'EXTRA_WEIGHT',
  'wrong-shape': 'SHAPE_MISMATCH',
  'wrong-dtype': 'DTYPE_MISMATCH',
  'unknown-model-type': 'UNKNOWN_MODEL_TYPE',
  'config-without-d-model': 'INVALID_CONFIG',
  'config-negative-layers': 'INVALID_CONFIG',
  'config-unknown-activation': 'INVALID_CONFIG',
};

describe('broken checkpoints', () => {
  const { broken } = readManifest();

  test('every folder of the goldens is listed here', () => {
    expect(broken.map(({ folder }) => folder.replace('broken/', '')).sort()).toEqual(
      Object.keys(codes).sort(),
    );
  });

  for (const { folder, fault } of broken) {
    const code = codes[folder.replace('broken/', '')];
    test(`${fault}: ${code ?? 'loads'}`, async () => {
      const backend = createReferenceBackend();
      const loading = loadT5({ backend, source: `${goldensFolder}/${folder}`, tokenizer: false });
      if (code === null) {
        (await loading).dispose();
      } else {
        const error = await errorOf(loading);
        expect(error.code).toBe(code);
        expect(error.fix).toBeDefined();
        expect(backend.memory().peak).toBe(0);
      }
      expect(backend.memory().live).toBe(0);
    });
  }
});

describe('loading', () => {
  test('files are closed, also after an error', async () => {
    const backend = createReferenceBackend();
    const source = await smallCheckpoint();
    const model = await loadT5({ backend, source });
    expect(source.openFiles).toBe(0);
    model.dispose();
    model.dispose();
    expect(backend.memory().live).toBe(0);
    source.files['model.safetensors'] = (source.files['model.safetensors'] as Uint8Array).slice(0, -4);
    await errorOf(loadT5({ backend, source }));
    expect(source.openFiles).toBe(0);
  });

  test.each([
    ['config.json', 'FILE_NOT_FOUND'],
    ['model.safetensors', 'FILE_NOT_FOUND'],
    ['tokenizer.json', 'FILE_NOT_FOUND'],
  ] as const)('without %s: %s', async (file, code) => {
    const source = await smallCheckpoint();
    delete source.files[file];
    const backend = createReferenceBackend();
    const error = await errorOf(loadT5({ backend, source }));
    expect(error.code).toBe(code);
    expect(error.message).toContain(file);
    expect(error.fix).toBeDefined();
    expect(backend.memory().peak).toBe(0);
  });

  test.each([
    ['config.json', '{', 'FILE_CORRUPT'],
    ['config.json', '[]', 'FILE_CORRUPT'],
    ['config.json', new Uint8Array([0xff, 0xfe]), 'FILE_CORRUPT'],
    ['tokenizer.json', 'oops', 'FILE_CORRUPT'],
    ['tokenizer.json', '{}', 'FILE_CORRUPT'],
    ['tokenizer.json', '{"model":{"type":"Nonsense"}}', 'FILE_CORRUPT'],
    ['tokenizer_config.json', '7', 'FILE_CORRUPT'],
  ] as const)('%s with %o: %s', async (file, content, code) => {
    const source = await smallCheckpoint();
    source.files[file] = content;
    expect((await errorOf(loadT5({ backend: createReferenceBackend(), source }))).code).toBe(code);
    expect(source.openFiles).toBe(0);
  });

  test('a folder that is not there is FILE_NOT_FOUND', async () => {
    const error = await errorOf(loadT5({ backend: createReferenceBackend(), source: '/no/such/folder' }));
    expect(error.code).toBe('FILE_NOT_FOUND');
  });

  test('shards are read by their index', async () => {
    const whole = await smallCheckpoint();
    const source = await shardedCheckpoint();
    const backend = createReferenceBackend();
    const [a, b] = [await loadT5({ backend, source }), await loadT5({ backend, source: whole })];
    expect((await a.generate([5, 6, 1])).ids).toEqual((await b.generate([5, 6, 1])).ids);
    expect(source.openFiles).toBe(0);
    delete source.files['model-1.safetensors'];
    expect((await errorOf(loadT5({ backend, source }))).code).toBe('FILE_NOT_FOUND');
    // Saved again in one file, the checkpoint may still have the index of before.
    source.files['model.safetensors'] = whole.files['model.safetensors'] as Uint8Array;
    const c = await loadT5({ backend, source });
    expect((await c.generate([5, 6, 1])).ids).toEqual((await b.generate([5, 6, 1])).ids);
    expect(source.openFiles).toBe(0);
  });

  test('generation_config.json has the last word on special ids', async () => {
    const source = await smallCheckpoint();
    const backend = createReferenceBackend();
    const plain = await loadT5({ backend, source });
    source.files['generation_config.json'] = JSON.stringify({
      decoder_start_token_id: 5,
      eos_token_id: [77, 1],
      max_new_tokens: 3,
    });
    const model = await loadT5({ backend, source });
    expect(model.config).toEqual({ ...plain.config, decoderStartId: 5, eosIds: [77, 1] });
    // Another first token, other logits.
    const forced = model.logits([[9, 4, 1]], [[5]]);
    const [values, { logits, ids }] = [
      await forced.data(),
      await model.generate([9, 4, 1], { maxNewTokens: 1 }),
    ];
    expect(values[ids[0] as number]).toBeCloseTo(logits[0] as number, 4);
    expect(logits).not.toEqual((await plain.generate([9, 4, 1], { maxNewTokens: 1 })).logits);

    source.files['generation_config.json'] = '{"eos_token_id": 128}';
    expect((await errorOf(loadT5({ backend, source }))).code).toBe('INVALID_CONFIG');
    source.files['generation_config.json'] = '[';
    expect((await errorOf(loadT5({ backend, source }))).code).toBe('FILE_CORRUPT');
  });

  test('a v1.1 saved by transformers 5, as tied but not scaled, keeps its head', async () => {
    const backend = createReferenceBackend();
    const source = await smallCheckpoint('t5-v1_1');
    const before = await loadT5({ backend, source });
    const config = JSON.parse(new TextDecoder().decode(source.files['config.json'] as Uint8Array));
    const changes = { tie_word_embeddings: true, scale_decoder_outputs: false };
    source.files['config.json'] = JSON.stringify({ ...config, ...changes });
    const after = await loadT5({ backend, source });
    expect((await after.generate([5, 6, 1])).logits).toEqual((await before.generate([5, 6, 1])).logits);
  });

  test('the embedding may be stored under the name of a copy alone', async () => {
    const backend = createReferenceBackend();
    const source = await smallCheckpoint();
    const before = await loadT5({ backend, source });
    const reader = await openSafetensors(source.files['model.safetensors'] as Uint8Array);
    const tensors: { [name: string]: TensorToWrite } = {};
    for (const [name, { dtype, shape }] of reader.tensors) {
      const stored = name === 'shared.weight' ? 'decoder.embed_tokens.weight' : name;
      tensors[stored] = { dtype, shape, data: await reader.read(name) };
    }
    source.files['model.safetensors'] = encodeSafetensors(tensors);
    const after = await loadT5({ backend, source });
    expect((await after.generate([5, 6, 1])).logits).toEqual((await before.generate([5, 6, 1])).logits);
  });

  test('progress counts weights; an abort frees those uploaded', async () => {
    const backend = createReferenceBackend();
    const source = await smallCheckpoint();
    const controller = new AbortController();
    const seen: number[] = [];
    const error = await errorOf(
      loadT5({
        backend,
        source,
        signal: controller.signal,
        onProgress: ({ stage, done, total }) => {
          expect(stage).toBe('load');
          expect(total).toBeGreaterThan(20);
          seen.push(done);
          if (done === 5) controller.abort();
        },
      }),
    );
    expect(error.code).toBe('ABORTED');
    expect(seen).toEqual([1, 2, 3, 4, 5]);
    expect(backend.memory().live).toBe(0);
    expect(source.openFiles).toBe(0);
  });

  test('the choices of the load, layer by layer', async () => {
    const backend = createReferenceBackend();
    const source = await smallCheckpoint();
    const choices = { decoder: { attention: { k: 3 }, crossAttention: 'exact' } } as const;
    const model = await loadT5({ backend, source, feedForward: { k: 5 }, ...choices });
    const { 'encoder.0': first, 'decoder.1': last } = model.layerChoices;
    expect(first).toEqual({ attention: 'exact', crossAttention: 'exact', feedForward: { k: 5 } });
    expect(last).toEqual({ attention: { k: 3 }, crossAttention: 'exact', feedForward: { k: 5 } });
    model.dispose();
  });

  test('a choice for a layer that is not there, or a bad k, is refused before anything is uploaded', async () => {
    const source = await smallCheckpoint();
    const backend = createReferenceBackend();
    const load = (choices: object) => errorOf(loadT5({ backend, source, ...choices }));
    expect((await load({ layers: { 'encoder.2': { attention: 'exact' } } })).code).toBe('INVALID_OPTION');
    expect((await load({ layers: { 'middle.0': { attention: 'exact' } } })).code).toBe('INVALID_OPTION');
    expect((await load({ attention: { k: 0 } })).code).toBe('INVALID_K');
    expect((await load({ decoder: { feedForward: { k: 1.5 } } })).code).toBe('INVALID_K');
    expect(backend.memory().peak).toBe(0);
  });
});

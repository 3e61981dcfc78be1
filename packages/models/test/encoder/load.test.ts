import { createReferenceBackend } from '@topk-attention/core/reference';
import { afterEach, describe, expect, test } from 'vitest';
import {
  createEncoder,
  encoderParameterSpecs,
  loadEncoder,
  loadEncoderParameters,
  parseEncoderConfig,
} from '../../src/index.js';
import { errorOf } from '../support/errors.js';
import { changedCheckpoint, type Family, folderOf, loadGolden } from './support.js';

const backend = createReferenceBackend();
const heads = /^(cls|classifier|pre_classifier|qa_outputs|lm_head|vocab_)/;

afterEach(() => {
  expect(backend.memory().live).toBe(0);
});

async function hiddenOf(source: Parameters<typeof loadEncoder>[0]['source']): Promise<readonly number[]> {
  const model = await loadEncoder({ backend, source, task: 'feature-extraction' });
  const states = model.encode([[2, 9, 17, 30]]);
  const values = Array.from(await states.data(), Number);
  states.dispose();
  model.dispose();
  return values;
}

describe('weights by other names', () => {
  test.each<Family>(['bert', 'distilbert', 'roberta'])(
    '%s: a bare encoder, without prefix and heads',
    async (family) => {
      const bare = await changedCheckpoint(family, { architectures: ['SomeModel'] }, (name) =>
        heads.test(name) ? undefined : name.replace(`${family}.`, ''),
      );
      expect(await hiddenOf(bare)).toEqual(await hiddenOf(folderOf(family)));
      const model = await loadEncoder({ backend, source: bare });
      expect(model.config.task).toBe('feature-extraction');
      model.dispose();
    },
  );

  test('gamma and beta of old checkpoints, and a stored list of positions', async () => {
    const old = await changedCheckpoint(
      'bert',
      {},
      (name) =>
        name.replace(/LayerNorm\.weight$/, 'LayerNorm.gamma').replace(/LayerNorm\.bias$/, 'LayerNorm.beta'),
      { 'bert.embeddings.position_ids': { dtype: 'I64', shape: [1, 2], data: BigInt64Array.of(0n, 1n) } },
    );
    expect(await hiddenOf(old)).toEqual(await hiddenOf(folderOf('bert')));
  });

  test('a word projection of its own', async () => {
    const tied = await loadGolden(backend, 'bert', 'fill-mask');
    expect(Object.keys(tied.parameters)).not.toContain('cls.predictions.decoder.weight');
    tied.dispose();
    const config = { tie_word_embeddings: false };
    const source = await changedCheckpoint('bert', config);
    expect(await errorOf(loadEncoder({ backend, source, task: 'fill-mask' }))).toMatchObject({
      code: 'MISSING_WEIGHT',
    });
    const { vocabSize, width } = tied.config;
    const shape = [vocabSize, width] as const;
    const projection = { dtype: 'F32', shape, data: new Float32Array(vocabSize * width) } as const;
    const own = await changedCheckpoint('bert', config, undefined, {
      'cls.predictions.decoder.weight': projection,
    });
    const model = await loadEncoder({ backend, source: own, task: 'fill-mask' });
    const logits = model.logits([[2, 9]]);
    const bias = Array.from((await model.parameters['cls.predictions.bias']?.data()) ?? [], Number);
    expect(bias).toHaveLength(vocabSize);
    expect(Array.from(await logits.data(), Number)).toEqual([...bias, ...bias]);
    logits.dispose();
    model.dispose();
  });
});

describe('heads', () => {
  test('config.json names the head, and task overrides it', async () => {
    const own = await loadGolden(backend, 'bert');
    expect(own.config.task).toBe('question-answering');
    own.dispose();
    const other = await loadGolden(backend, 'bert', 'text-classification');
    expect(other.config.task).toBe('text-classification');
    other.dispose();
  });

  test('a head that the checkpoint lacks', async () => {
    const source = await changedCheckpoint('roberta', {}, (name) => (heads.test(name) ? undefined : name));
    const error = await errorOf(loadEncoder({ backend, source }));
    expect(error).toMatchObject({ code: 'MISSING_WEIGHT' });
    expect(error.message).toContain('qa_outputs.weight');
  });

  test('a class that is not there', async () => {
    const source = await changedCheckpoint('bert', { architectures: ['BertForMultipleChoice'] });
    const error = await errorOf(loadEncoder({ backend, source }));
    expect(error).toMatchObject({ code: 'UNSUPPORTED', got: 'BertForMultipleChoice' });
    const model = await loadEncoder({ backend, source, task: 'feature-extraction' });
    model.dispose();
  });
});

describe('bad input', () => {
  test.each([
    [{ model_type: 'electra' }, 'UNKNOWN_MODEL_TYPE'],
    [{ model_type: 7 }, 'UNKNOWN_MODEL_TYPE'],
    [{ position_embedding_type: 'relative_key' }, 'INVALID_CONFIG'],
    [{ is_decoder: true }, 'INVALID_CONFIG'],
    [{ hidden_act: 'quick_gelu' }, 'INVALID_CONFIG'],
    [{ num_attention_heads: 5 }, 'INVALID_CONFIG'],
    [{ hidden_size: undefined }, 'INVALID_CONFIG'],
    [{ pad_token_id: 100000 }, 'INVALID_CONFIG'],
    [{ num_hidden_layers: 1 }, 'EXTRA_WEIGHT'],
    [{ num_hidden_layers: 3 }, 'MISSING_WEIGHT'],
    [{ intermediate_size: 49 }, 'SHAPE_MISMATCH'],
    [{ max_position_embeddings: 65 }, 'SHAPE_MISMATCH'],
  ])('%j is %s', async (config, code) => {
    const source = await changedCheckpoint('bert', config);
    expect(await errorOf(loadEncoder({ backend, source }))).toMatchObject({ code });
    expect(source.openFiles).toBe(0);
  });

  test('labels that are not numbered', async () => {
    const source = await changedCheckpoint('bert', { id2label: { 0: 'a', 2: 'b' } });
    expect(await errorOf(loadEncoder({ backend, source, task: 'text-classification' }))).toMatchObject({
      code: 'INVALID_CONFIG',
    });
  });

  test('RoBERTa without a position for a token', async () => {
    const source = await changedCheckpoint('roberta', { max_position_embeddings: 2 });
    expect(await errorOf(loadEncoder({ backend, source }))).toMatchObject({ code: 'INVALID_CONFIG' });
  });

  test('a pattern of layers that there are not, cross-attention, and k of 0', async () => {
    const load = (choices: object) => errorOf(loadEncoder({ backend, source: folderOf('bert'), ...choices }));
    expect(await load({ layers: { 'decoder.0': { attention: { k: 2 } } } })).toMatchObject({
      code: 'INVALID_OPTION',
    });
    expect(await load({ layers: { 'encoder.0': { crossAttention: { k: 2 } } } })).toMatchObject({
      code: 'INVALID_OPTION',
    });
    expect(await load({ crossAttention: { k: 2 } })).toMatchObject({ code: 'INVALID_OPTION' });
    expect(await load({ attention: { k: 0 } })).toMatchObject({ code: 'INVALID_K' });
  });

  test('an aborted load leaves nothing', async () => {
    const aborting = new AbortController();
    const error = await errorOf(
      loadEncoder({
        backend,
        source: folderOf('bert'),
        signal: aborting.signal,
        onProgress: ({ done }) => done === 5 && aborting.abort(),
      }),
    );
    expect(error.code).toBe('ABORTED');
  });
});

test('parameters alone, and a model of them', async () => {
  const { config, parameters } = await loadEncoderParameters({
    backend,
    source: folderOf('distilbert'),
    task: 'text-classification',
  });
  expect(Object.keys(parameters).sort()).toEqual(
    encoderParameterSpecs(config)
      .map(({ name }) => name)
      .sort(),
  );
  const model = createEncoder(config, parameters, { attention: { k: 2 } });
  expect(await model.classify([[2, 9, 17]])).toHaveLength(1);
  model.dispose();
  expect(() => createEncoder(config, {})).toThrow(expect.objectContaining({ code: 'MISSING_WEIGHT' }));
});

test.each([
  [{ num_labels: 1 }, 'multi-label'],
  [{ problem_type: 'regression', num_labels: 1 }, 'regression'],
  [{ problem_type: 'multi_label_classification' }, 'multi-label'],
  [{ problem_type: null, num_labels: 4 }, 'single-label'],
])('%j is a problem of kind %s', (changes, problem) => {
  const config = { model_type: 'bert', vocab_size: 9, hidden_size: 4, num_hidden_layers: 1 };
  const sizes = { num_attention_heads: 1, intermediate_size: 4 };
  const parsed = parseEncoderConfig(JSON.stringify({ ...config, ...sizes, ...changes }), {
    task: 'text-classification',
  });
  expect(parsed.problem).toBe(problem);
  expect(parsed.labels[0]).toBe('LABEL_0');
});

test('weights that make NaN give an error and no result', async () => {
  const nan = { dtype: 'F32', shape: [2], data: Float32Array.of(Number.NaN, 0) } as const;
  const source = await changedCheckpoint(
    'bert',
    {},
    (name) => (name === 'qa_outputs.bias' ? undefined : name),
    { 'qa_outputs.bias': nan },
  );
  const model = await loadEncoder({ backend, source });
  const error = await errorOf(model.answer({ question: 'the', context: 'the garden' }));
  expect(error).toMatchObject({ code: 'NAN_FOUND' });
  model.dispose();
});

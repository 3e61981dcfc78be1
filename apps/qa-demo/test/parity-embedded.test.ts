import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Backend } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { createTokenizer, loadT5, type T5 } from '@topk-attention/models';
import { createOnnxRuntimeBackend } from '@topk-attention/onnxruntime';
import { Goldens, goldensFolder, largestDifference } from '@topk-attention/t5-goldens';
import { thoroughAvailability } from '@topk-attention/vitest-preset';
import { beforeAll, describe, expect, test } from 'vitest';

/** What `tooling/goldens/t5.py --embedded` wrote. */
interface EmbeddedManifest {
  readonly maxNewTokens: number;
  readonly sha256: { readonly [file: string]: string };
  readonly prompts: readonly string[];
  readonly answers: readonly string[];
  readonly strings: readonly string[];
  readonly decoded: readonly string[];
}

const folder = fileURLToPath(new URL('../model', import.meta.url));
const manifest: EmbeddedManifest = JSON.parse(
  readFileSync(`${goldensFolder}/embedded/manifest.json`, 'utf8'),
);
let goldens: Goldens;

beforeAll(async () => {
  goldens = await Goldens.read('embedded/goldens.safetensors');
});

test.each(Object.entries(manifest.sha256))(
  '%s is the one that the golden values belong to',
  (file, expected) => {
    expect(
      createHash('sha256')
        .update(readFileSync(`${folder}/${file}`))
        .digest('hex'),
    ).toBe(expected);
  },
);

describe('the tokenizer against that of Python', () => {
  const read = (file: string): string => readFileSync(`${folder}/${file}`, 'utf8');
  const tokenizer = createTokenizer(read('tokenizer.json'), read('tokenizer_config.json'));

  test('ids of every string', () => {
    const expected = goldens.packed('tokenizer.ids', 'tokenizer.starts');
    expect(expected).toHaveLength(manifest.strings.length);
    for (const [index, text] of manifest.strings.entries()) {
      expect(tokenizer.encode(text), JSON.stringify(text)).toEqual(expected[index]);
    }
  });

  test('ids back to text', () => {
    const ids = goldens.packed('tokenizer.plainIds', 'tokenizer.plainStarts');
    for (const [index, text] of manifest.decoded.entries()) {
      expect(tokenizer.decode(ids[index] ?? [])).toBe(text);
    }
  });
});

/** Logits of the four teacher-forced prompts, and the answers to all prompts that are short enough. */
function describeParity(
  name: string,
  createBackend: () => Backend | Promise<Backend>,
  longestPrompt: number,
  fewest: number,
): void {
  describe(`the embedded model against Python transformers, on ${name}`, () => {
    let backend: Backend;
    let model: T5;
    beforeAll(async () => {
      backend = await createBackend();
      model = await loadT5({ backend, source: folder });
    });

    test('logits within 1e-4', async () => {
      let compared = 0;
      for (let index = 0; index < 4; index++) {
        const sources = goldens.rows(`logits${index}.inputIds`);
        if ((sources[0]?.length ?? 0) > longestPrompt) continue;
        const logits = model.logits(sources, goldens.rows(`logits${index}.decoderInputIds`));
        const difference = await largestDifference(logits, goldens.vector(`logits${index}.logits`));
        expect(difference, `logits${index}`).toBeLessThan(1e-4);
        compared++;
      }
      expect(compared).toBeGreaterThan(0);
    });

    test(`greedy ids and text of the prompts up to ${longestPrompt} tokens are identical`, async () => {
      const prompts = goldens.packed('generate.promptIds', 'generate.promptStarts');
      const expected = goldens.packed('generate.ids', 'generate.starts');
      const { live } = backend.memory();
      let compared = 0;
      for (const [index, prompt] of prompts.entries()) {
        if (prompt.length > longestPrompt) continue;
        const text = manifest.prompts[index] as string;
        const result = await model.generate(text, { maxNewTokens: manifest.maxNewTokens });
        expect(result.sourceLength).toBe(prompt.length);
        expect(result.ids, text).toEqual(expected[index]);
        expect(result.text).toBe(manifest.answers[index]);
        compared++;
      }
      expect(compared).toBeGreaterThanOrEqual(fewest);
      expect(backend.memory().live).toBe(live);
    });
  });
}

// All 50 take ten seconds, which the fast lane does not have; the reference backend is slow, and takes the shortest.
const [longest, count] = thoroughAvailability().available ? [Number.POSITIVE_INFINITY, 50] : [200, 19];
describeParity('ONNX Runtime', () => createOnnxRuntimeBackend({ threads: 1 }), longest, count);
describeParity('the reference backend', () => createReferenceBackend(), 45, 3);

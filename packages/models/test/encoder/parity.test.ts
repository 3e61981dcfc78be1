import { crossEntropy, type Tensor, tensor, valueAndGrad } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import {
  checkEmbeddings,
  checkHeads,
  checkHiddenStates,
  Goldens,
  goldensFolder,
  readEncoderManifest,
} from '@topk-attention/t5-goldens';
import { describe, expect, test } from 'vitest';
import type { ParameterTree } from '../../src/index.js';
import { type EncoderTask, encoderLogits, loadEncoder, loadEncoderParameters } from '../../src/index.js';
import { contextWindows } from '../../src/question-answering/windows.js';

for (const golden of readEncoderManifest().models) {
  describe(`${golden.model} against Python transformers, on the reference backend`, () => {
    const source = `${goldensFolder}/encoders/${golden.model}`;
    const backend = createReferenceBackend();
    const load = (task: EncoderTask) => loadEncoder({ backend, source, task });

    test('hidden states, exact and top-k, and the logits of all heads within 1e-4', async () => {
      const goldens = await Goldens.read(`encoders/${golden.model}/goldens.safetensors`);
      await checkHiddenStates({ golden, goldens, load });
      await checkHeads({ golden, goldens, load });
      expect(backend.memory().live).toBe(0);
    });

    test('embeddings', async () => {
      const goldens = await Goldens.read(`encoders/${golden.model}/goldens.safetensors`);
      await checkEmbeddings({ golden, goldens, load });
      expect(backend.memory().live).toBe(0);
    });

    test('gradients of all parameters of the text classifier', async () => {
      const goldens = await Goldens.read(`encoders/${golden.model}/goldens.safetensors`);
      const { config, parameters } = await loadEncoderParameters({
        backend,
        source,
        task: 'text-classification',
      });
      const inputs = {
        sources: goldens.rows('ids'),
        sourceLengths: goldens.vector('lengths'),
        types: goldens.rows('types'),
      };
      const labels = tensor(backend, Int32Array.of(0, 2, 1), [3], 'i32');
      const loss = (p: ParameterTree): Tensor => crossEntropy(encoderLogits(config, p, inputs), labels);
      const { gradients } = valueAndGrad(loss)(parameters);
      expect(Object.keys(golden.gradients).sort()).toEqual(Object.keys(parameters).sort());
      for (const [name, expected] of Object.entries(golden.gradients)) {
        const values = Array.from(await (gradients[name] as Tensor).data(), Number);
        const norm = Math.sqrt(values.reduce((sum, one) => sum + one * one, 0));
        expect(Math.abs(norm - expected), name).toBeLessThan(1e-4 * Math.max(1, expected));
      }
    });

    test.each(golden.questions)('answers to "$question"', async (asked) => {
      const model = await load('question-answering');
      const { question, context, window, stride, topK, longest, noAnswerScore } = asked;
      const options = { topK, maxTokens: window, stride, maxAnswerTokens: longest };
      const spans = model.tokenizer?.spans;
      if (spans === undefined) throw new Error('no spans');
      const sizes = { maxTokens: window, stride };
      const { ids } = spans.encode(question);
      const windows = contextWindows('answer', spans, ids, spans.encode(context), sizes);
      expect(windows.map((one) => one.ids)).toEqual(asked.windows);
      const answers = await model.answer({ question, context }, options);
      expect(asked.lead).toBeGreaterThan(1e-4);
      expect(answers.map(({ text, start, end }) => ({ text, start, end }))).toEqual(
        asked.answers.map(({ text, start, end }) => ({ text, start, end })),
      );
      for (const [at, { score }] of answers.entries()) {
        expect(Math.abs(score - (asked.answers[at]?.score ?? Number.NaN))).toBeLessThan(1e-5);
      }
      for (const { text, start, end } of answers) expect(context.slice(start, end)).toBe(text);
      if (noAnswerScore !== undefined) {
        // So many that it is among them, however unlikely it is.
        const all = await model.answer(
          { question, context },
          { ...options, topK: 10_000, allowNoAnswer: true },
        );
        // Tokens of spaces alone have an empty text too, somewhere else.
        const none = all.find(({ text, end }) => text === '' && end === 0);
        expect(Math.abs((none?.score ?? Number.NaN) - noAnswerScore)).toBeLessThan(1e-5);
      }
      model.dispose();
    });
  });
}

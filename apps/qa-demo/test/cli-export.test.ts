import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { loadT5 } from '@topk-attention/models';
import { exportOnnx, readExported } from '@topk-attention/onnxruntime/export';
import { rewriteModel } from '@topk-attention/onnxruntime/rewrite';
import { expect, test } from 'vitest';
import { type JsonError, jsonOf, smallModel, temporaryFolder, writeIn } from './cli-support.js';
import { runProgram } from './run-program.js';

const folder = temporaryFolder();
const model = smallModel(folder);
writeIn(model, 'tokenizer_config.json', '{"tokenizer_class": "PreTrainedTokenizerFast"}');
const ENCODER = 'onnx/encoder_model.onnx';

interface Written {
  readonly folder: string;
  readonly attentionK: number | 'exact';
  readonly feedForwardK: number | 'exact';
  readonly chunked: boolean;
  readonly dtype: 'float32' | 'float16';
  readonly files: { readonly [file: string]: number };
}

test('the whole folder, and a table of it', async () => {
  const target = join(folder, 'exact');
  const { code, stdout, stderr } = await runProgram(['export', target, '--model', model]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(readdirSync(target, { recursive: true }).sort()).toEqual([
    'config.json',
    'generation_config.json',
    'onnx',
    'onnx/decoder_model_merged.onnx',
    ENCODER,
    'tokenizer.json',
    'tokenizer_config.json',
  ]);
  expect(stdout).toMatch(/^onnx\/encoder_model\.onnx +\d+(\.\d+)? (KiB|MiB)$/m);
  const source = await loadT5({ backend: createReferenceBackend(), source: model, tokenizer: false });
  const files = await readExported(await exportOnnx(source));
  source.dispose();
  expect(Buffer.compare(readFileSync(join(target, ENCODER)), files[ENCODER] as Uint8Array)).toBe(0);

  const chunked = join(folder, 'chunked');
  const made = jsonOf<Written>(
    await runProgram(['export', chunked, '--model', model, '--chunked', '--json']),
  );
  expect(made).toMatchObject({ folder: chunked, attentionK: 'exact', feedForwardK: 'exact', chunked: true });
  const rewritten = rewriteModel(files[ENCODER] as Uint8Array, { feedForward: 'chunked' });
  expect(Buffer.compare(readFileSync(join(chunked, ENCODER)), rewritten.model)).toBe(0);
  expect(made.files[ENCODER]).toBe(rewritten.model.byteLength);
});

test('layers with k', async () => {
  const target = join(folder, 'k');
  const ks = ['--attention-k', '3', '--feed-forward-k', '5'];
  const made = jsonOf<Written>(await runProgram(['export', target, '--model', model, ...ks, '--json']));
  expect(made).toMatchObject({ attentionK: 3, feedForwardK: 5, chunked: false });
  const source = await loadT5({
    ...{ backend: createReferenceBackend(), source: model, tokenizer: false },
    ...{ attention: { k: 3 }, feedForward: { k: 5 } },
  });
  const files = await readExported(await exportOnnx(source));
  source.dispose();
  expect(Buffer.compare(readFileSync(join(target, ENCODER)), files[ENCODER] as Uint8Array)).toBe(0);
});

test('half precision, with weights beside the models', async () => {
  const target = join(folder, 'half');
  const flags = ['--model', model, '--dtype', 'float16', '--external-data', '--chunked', '--json'];
  const made = jsonOf<Written>(await runProgram(['export', target, ...flags]));
  expect(made).toMatchObject({ dtype: 'float16', chunked: true });
  const encoder = 'onnx/encoder_model_fp16.onnx';
  const source = await loadT5({ backend: createReferenceBackend(), source: model, tokenizer: false });
  const files = await readExported(await exportOnnx(source, { dtype: 'float16', externalData: true }));
  source.dispose();
  const rewritten = rewriteModel(files[encoder] as Uint8Array, { feedForward: 'chunked' });
  expect(Buffer.compare(readFileSync(join(target, encoder)), rewritten.model)).toBe(0);
  for (const path of [`${encoder}_data`, 'onnx/decoder_model_merged_fp16.onnx', 'config.json']) {
    expect(Buffer.compare(readFileSync(join(target, path)), files[path] as Uint8Array), path).toBe(0);
  }
});

test('what cannot be written is refused, with what to do, and nothing is left', async () => {
  const errorOf = async (
    ...args: readonly string[]
  ): Promise<JsonError['error'] & { exit: number | null }> => {
    const outcome = await runProgram(['export', ...args, '--json']);
    return { ...jsonOf<JsonError>(outcome).error, exit: outcome.code };
  };
  expect(await errorOf(folder)).toMatchObject({ code: 'INVALID_OPTION', exit: 1 });
  const target = join(folder, 'new');
  expect(await errorOf(target, '--model', join(folder, 'no'))).toMatchObject({
    code: 'FILE_NOT_FOUND',
    exit: 1,
  });
  expect(await errorOf(target, '--attention-k', '0')).toMatchObject({ code: 'USAGE', exit: 2 });
  expect(await errorOf(target, '--dtype', 'f16')).toMatchObject({ code: 'USAGE', exit: 2 });
  expect(await errorOf()).toMatchObject({ code: 'USAGE', exit: 2 });
  const file = writeIn(folder, 'file', 'x');
  expect(await errorOf(join(file, 'new'), '--model', model)).toMatchObject({ code: 'FILE_NOT_FOUND' });
  expect(existsSync(target)).toBe(false);
});

import type { LayerError, SuggestedK } from '@topk-attention/models';
import { describe, expect, test } from 'vitest';
import type { EngineInfo } from '../src/engine/protocol.js';
import { type JsonError, jsonOf, runCli, smallModel, temporaryFolder, writeIn } from './cli-support.js';
import { runProgram } from './run-program.js';

const folder = temporaryFolder();
const story = writeIn(folder, 'story.txt', 'Ann went to the garden.');
const command = ['suggest-k', '--model', smallModel(folder), '--backend', 'reference', '-q', 'Where is Ann?'];
const onStory = [...command, '--context', story];

describe('suggest-k', () => {
  test('says k of the model, and of each layer', async () => {
    const { suggested, engine } = jsonOf<{ suggested: SuggestedK; engine: EngineInfo }>(
      await runProgram([...onStory, '--tolerance', '0.1', '--json']),
    );
    expect(engine.backend).toBe('reference');
    expect(suggested.error.kl).toBeLessThanOrEqual(0.1);
    expect(suggested.layers).toHaveLength(6);
    const { code, stdout } = await runProgram([...onStory, '--tolerance', '0.1']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^k \S+ of \d+ keys keeps kl within 0\.1: /);
    expect(stdout).toMatch(/^encoder\.0 attention +\S+/m);
    expect(stdout).toMatch(/^all of these/m);
  });

  test('reports what some ks cost', async () => {
    const args = ['--k', '4,60', '--of', 'feed-forward'];
    const { errors } = jsonOf<{ errors: LayerError[] }>(await runProgram([...onStory, ...args, '--json']));
    expect(errors.map(({ k }) => k)).toEqual([4, 60, 4, 60, 4, 60, 4, 60]);
    const { stdout } = await runProgram([...onStory, ...args]);
    expect(stdout).toMatch(/^encoder\.0 feedForward +4 +\S+/m);
  });

  test('in a process of its own', async () => {
    const args = [...onStory, '--k', '4', '--json'];
    const outcome = await runCli(args);
    expect(outcome).toMatchObject({ code: 0, stderr: '' });
    expect(jsonOf<{ errors: LayerError[] }>(outcome).errors).toEqual(
      jsonOf<{ errors: LayerError[] }>(await runProgram(args)).errors,
    );
  });

  test.each([
    [['--k', '4,exact'], 2, /exact has no error/],
    [['--measure', 'mse'], 2, /kl, argmax, cosine/],
    [['--tolerance', '0'], 2, /above 0/],
    [['--k', '4', '--tolerance', '0.1'], 2, /'--k <N,N,...>' cannot be used with option '--tolerance <T>'/],
    [['--k', '4', '--measure', 'argmax'], 2, /cannot be used with option '--measure <NAME>'/],
  ])('%j is refused', async (args, code, message) => {
    const outcome = await runProgram([...onStory, ...args]);
    expect(outcome.code).toBe(code);
    expect(outcome.stderr).toMatch(message);
  });

  test('a k that leaves nothing out is an error with a fix', async () => {
    const { code, stdout } = await runProgram([...onStory, '--k', '1000', '--json']);
    expect(code).toBe(1);
    const { error } = JSON.parse(stdout) as JsonError;
    expect(error.code).toBe('INVALID_K');
    expect(error.fix).toContain('smaller ks');
  });
});

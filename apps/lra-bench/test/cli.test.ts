import { describe, expect, test } from 'vitest';
import { tasks } from '../src/tasks/task.js';
import { lra } from './support/command-line.js';

const commands = ['tasks', 'generate', 'train', 'eval', 'bench', 'report', 'quick'];

describe('help and version', () => {
  test('the general help names every command', async () => {
    const { code, stdout, stderr } = await lra(['--help']);
    expect(code).toBe(0);
    expect(stderr).toBe('');
    for (const name of commands) expect(stdout).toMatch(new RegExp(`^ {2}${name} `, 'm'));
    expect(stdout).toContain('130 interrupted');
  });

  test.each(commands)('%s --help says how to call it', async (name) => {
    const { code, stdout } = await lra([name, '--help']);
    expect(code).toBe(0);
    expect(stdout).toContain(`Usage: pnpm lra ${name} `);
    expect(stdout).toContain('--json');
  });

  test('the version', async () => {
    expect((await lra(['--version'])).stdout).toMatch(/^topk-lra \d+\.\d+\.\d+, Node \d+/);
  });
});

test.each<[string, string[], RegExp]>([
  ['no command', [], /no command given/],
  ['nearly a command', ['tsks'], /unknown command 'tsks' \(Did you mean tasks\?\)/],
  ['unknown option', ['tasks', '--kk'], /unknown option '--kk'/],
  ['layers without end', ['bench', '--layers', '100000'], /at most 1024 layers/],
])('wrong use is exit code 2: %s', async (_name, args, message) => {
  const { code, stdout, stderr } = await lra(args);
  expect(code).toBe(2);
  expect(stdout).toBe('');
  expect(stderr).toMatch(message);
  expect(stderr).toContain('--help');
});

test('tasks: one table, or one object', async () => {
  const { code, stdout } = await lra(['tasks']);
  expect(code).toBe(0);
  for (const name of Object.keys(tasks)) expect(stdout).toMatch(new RegExp(`^${name} `, 'm'));
  const json = JSON.parse((await lra(['tasks', '--json'])).stdout);
  expect(json.tasks).toEqual(Object.values(tasks));
  for (const name of ['top-k', 'rfa-gate', 'simpletron', 'soft-norm', 'relative-kernel']) {
    expect(stdout).toMatch(new RegExp(`^  ${name}: `, 'm'));
    expect(json.mechanisms).toContainEqual({ name, about: expect.any(String) });
  }
});

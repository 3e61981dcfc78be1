import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { bundle } from '../support/bundle.js';

const program = await bundle('realm-program.mjs');
const child = fileURLToPath(new URL('../support/realm-child.mjs', import.meta.url));

test('in a realm that is not that of Node, as under Jest, everything computes', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--experimental-vm-modules',
    child,
    program,
  ]);
  expect(JSON.parse(stdout)).toEqual({
    read: [
      [true, '4,4,4,4'],
      [false, '3,3,3,3'],
      [true, '1,2,3,4'],
    ],
    // `instanceof` is widened for the length of a run alone.
    isNarrow: true,
  });
});

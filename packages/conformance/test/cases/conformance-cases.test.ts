import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { conformanceCases } from '../../src/index.js';

const cases = await conformanceCases();
const root = fileURLToPath(new URL('../../src/cases/', import.meta.url));
const folderOf = (group: string): string => group.replaceAll(' ', '-');

test('case names are unique, and anchors 1 to 4 are there', () => {
  expect(new Set(cases.map((one) => one.name)).size).toBe(cases.length);
  for (const anchor of [1, 2, 3, 4]) {
    expect(cases.filter((one) => one.anchors?.includes(anchor)).length, `anchor ${anchor}`).toBeGreaterThan(
      0,
    );
  }
});

test('the folders of src/cases are the groups', async () => {
  const entries = await readdir(root, { withFileTypes: true });
  const folders = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  expect(folders.sort()).toEqual([...new Set(cases.map(({ group }) => folderOf(group)))].sort());
});

test('each case is exported from the folder of its group', async () => {
  const files = (await readdir(root, { recursive: true })).filter((file) => /[\\/].*\.ts$/.test(file));
  const folders = new Map<unknown, string>();
  for (const file of files) {
    const exported: object = await import(/* @vite-ignore */ `${root}${file}`);
    for (const one of Object.values(exported).flat()) folders.set(one, file.split(/[\\/]/)[0] as string);
  }
  // Golden cases are made from files and exported by no module.
  const misplaced = cases.filter(
    (one) => one.group !== 'goldens' && folders.get(one) !== folderOf(one.group),
  );
  expect(misplaced.map(({ name }) => name)).toEqual([]);
});

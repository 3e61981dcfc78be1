import { readFile } from 'node:fs/promises';
import {
  type TestPage,
  type TestPageOptions,
  withTestPage,
} from '@topk-attention/vitest-preset/browser-page';
import type { Progress } from '../../src/checkpoints.js';

/** The page of the example in headless Chromium. */
export interface ExamplePage extends TestPage {
  /** Waits until the page is in a state; fails with what the page says if it gets into `failed` instead. */
  state(wanted: string): Promise<void>;
  /** Waits until so many steps are made. */
  stepsMade(count: number): Promise<void>;
  /** Writes values into the fields of these names. */
  fill(values: Readonly<Record<string, string>>): Promise<void>;
  click(id: string): Promise<void>;
  /** What an element with this id says. */
  textOf(id: string): Promise<string>;
  /** What the page stored of its run. */
  progress(): Promise<Progress>;
  /** The losses of its steps. */
  losses(): Promise<readonly number[]>;
  /** Clicks what begins a run, and waits until it runs, also after a failure. */
  run(id: string): Promise<void>;
  /** Exports the model and takes the download. */
  exported(): Promise<{ readonly name: string; readonly bytes: Uint8Array }>;
}

const READ_PROGRESS = `new Promise((resolve, reject) => {
  const opening = indexedDB.open('topk-attention-train-in-the-browser');
  opening.onerror = () => reject(opening.error);
  opening.onsuccess = () => {
    const reading = opening.result.transaction('run').objectStore('run').get('progress');
    reading.onsuccess = () => {
      opening.result.close();
      resolve(reading.result);
    };
  };
})`;

export async function withExample<T>(
  use: (page: ExamplePage) => Promise<T>,
  options: Pick<TestPageOptions, 'launch'> = {},
): Promise<T> {
  const folder = new URL('../../', import.meta.url);
  return withTestPage({ folder, ready: 'document', exclude: ['webgpu'], ...options }, (open) => {
    const { page } = open;
    const timeout = 550_000;
    const textOf = async (id: string): Promise<string> => (await page.textContent(`#${id}`)) ?? '';
    const click = (id: string): Promise<void> => page.click(`#${id}`, { timeout });
    const settled = async (condition: string, wanted: string): Promise<void> => {
      const isOver = `${condition} || document.body.dataset.state === 'failed'`;
      await page.waitForFunction(isOver, undefined, { timeout });
      if (await page.evaluate(condition)) return;
      throw new Error(
        `not ${wanted}, but failed: ${await textOf('failure-title')}. ${await textOf('failure-detail')}`,
      );
    };
    const progress = (): Promise<Progress> => page.evaluate(READ_PROGRESS) as Promise<Progress>;
    return use({
      ...open,
      textOf,
      click,
      state: (wanted) => settled(`document.body.dataset.state === '${wanted}'`, wanted),
      stepsMade: (count) =>
        settled(`parseInt(document.querySelector('#step').textContent) >= ${count}`, `at step ${count}`),
      fill: async (values) => {
        for (const [name, value] of Object.entries(values)) {
          const field = page.locator(`[name="${name}"]`);
          const isSelect = (await field.first().evaluate((element) => element.localName)) === 'select';
          if (isSelect) await field.selectOption(value);
          // Its words are what a reader clicks.
          else if (name === 'mechanism') await page.click(`label:has([name="mechanism"][value="${value}"])`);
          else await field.fill(value);
        }
      },
      progress,
      losses: async () => (await progress()).log.flatMap(({ loss }) => loss ?? []),
      run: async (id) => {
        await click(id);
        await page.waitForFunction(`document.body.dataset.state === 'running'`, undefined, { timeout });
      },
      exported: async () => {
        const download = page.waitForEvent('download');
        await click('export');
        const file = await download;
        return { name: file.suggestedFilename(), bytes: await readFile(await file.path()) };
      },
    });
  });
}

import type { RunnerTestFile } from 'vitest';
import { TestRunner } from 'vitest';
import { LEFT_FILES_VARIABLE, listedName } from './slow-files.ts';

const NO_TEST = /(?!)/;

/**
 * Skips every test of a file that is left to `pnpm test --all`. The file is still read, so that its tests are counted; none
 * of its hooks run.
 */
export default class FastLaneRunner extends TestRunner {
  readonly #left = new Set(process.env[LEFT_FILES_VARIABLE]?.split(','));
  readonly #wanted = this.config.testNamePattern;

  override onCollectStart(file: RunnerTestFile): void {
    super.onCollectStart(file);
    const name = listedName(file.filepath);
    this.config.testNamePattern = name !== undefined && this.#left.has(name) ? NO_TEST : this.#wanted;
  }
}

import { fileURLToPath } from 'node:url';
import { configDefaults, defineProject, type UserWorkspaceConfig } from 'vitest/config';
import { leftFiles } from './slow-files.ts';

/** The export condition under which every workspace package resolves to its TypeScript source. */
export const SOURCE_CONDITION = '@topk-attention/source';

const fileHere = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** Settings for packages with tests that run built code in other processes: they build it first. */
export const testsOfBuiltCode: { globalSetup: string[] } = { globalSetup: [fileHere('./build-packages.ts')] };

/**
 * Test settings of one package. Everything runs from source through {@link SOURCE_CONDITION}, so a test that
 * imports `../src/x.js` and one that imports the package by name share one copy of core. Files listed in slow-files.ts
 * are left to `pnpm test --all`, unless the command line names them.
 */
export function packageTests(name: string, overrides: UserWorkspaceConfig['test'] = {}): UserWorkspaceConfig {
  const conditions = [SOURCE_CONDITION, 'module', 'node', 'import', 'default'];
  return defineProject({
    resolve: { conditions },
    ssr: { resolve: { conditions, externalConditions: conditions } },
    test: {
      name,
      include: ['test/**/*.test.ts'],
      environment: 'node',
      exclude: [...configDefaults.exclude, ...leftFiles(name).map((file) => `test/${file}.test.ts`)],
      // A crash of a native engine takes its own process down, not the run.
      pool: 'forks',
      // Test files share processes and what they import, which would otherwise take half of their time. A file must undo
      // its changes to globals and to the environment.
      isolate: false,
      // Limits end what hangs. They say nothing about speed: a loaded machine takes twenty times as long as a quiet one.
      // `pnpm fuzz` runs the property tests with many more cases.
      testTimeout: process.env.TOPK_FUZZ_RUNS ? 3_600_000 : 600_000,
      hookTimeout: 600_000,
      ...overrides,
      env: {
        // ONNX Runtime would send usage data.
        ORT_DISABLE_TELEMETRY: '1',
        ...overrides.env,
      },
    },
  });
}

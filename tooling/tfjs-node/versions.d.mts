// For TypeScript projects that do not read JavaScript: the helpers in tooling/vitest are part of them.
export const tfjsNodeVersion: string;
export const nodeApiHeadersVersion: string;
export const wheel: {
  readonly project: string;
  readonly version: string;
  readonly file: string;
  readonly sha256: string;
};
export const buildFolder: string;
export function unsupportedPlatform(platform?: string, arch?: string): string | undefined;
export function isBuilt(): boolean;

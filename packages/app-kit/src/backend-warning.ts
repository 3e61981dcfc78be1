import type { BackendInfo } from './backend-settings.js';

/** The one warning about a backend: its own, or that the preferred backend is not the one running. */
export function backendWarning({ backend, warning, fallback }: BackendInfo): string | undefined {
  if (warning !== undefined) return `Warning: ${warning}`;
  if (fallback === undefined) return undefined;
  return `Warning: running on the slow ${backend} backend, because ONNX Runtime is not available (${fallback})`;
}

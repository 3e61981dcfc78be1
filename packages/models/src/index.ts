/** Replaced by the package's public interface. */
export const packageName: string = '@topk-attention/models';

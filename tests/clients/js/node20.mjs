// matrix-js-sdk is made for Node 22; this is all of it that Node 20 lacks.
Promise.withResolvers ??= () => {
    const parts = {};
    parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }));
    return parts;
};

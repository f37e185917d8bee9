/* The program of the single file: Python is linked into it, and a zip archive of all imported modules is appended.

   Nothing is unpacked: pure modules are read from the archive, extension modules are loaded from memory (embedded.py).
*/

#include <Python.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <unistd.h>

static PyObject *load(PyObject *self, PyObject *path)
{
    const char *name = PyUnicode_AsUTF8(path);
    if (name == NULL)
        return NULL;
    if (dlopen(name, RTLD_NOW) == NULL) /* never closed: extension modules stay as long as the process */
        return PyErr_Format(PyExc_ImportError, "%s", dlerror());
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"load", load, METH_O, "Load a shared library, so that those that need it find it by its name."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_libraries", NULL, -1, methods};

static PyObject *init_libraries(void)
{
    return PyModule_Create(&module);
}

/* Return the path of the program's own file as an open descriptor, which stays readable if the file is replaced or
   removed: bootstrap replaces a running program. Without /proc return its name. */
static const char *archive(const char *path)
{
    static char name[64];
    int opened = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (opened == -1)
        return path;
    int kept = fcntl(opened, F_DUPFD_CLOEXEC, 3); /* 0 to 2 are stdin, stdout and stderr, even if they are closed */
    close(opened);
    if (kept == -1)
        return path;
    snprintf(name, sizeof name, "/proc/self/fd/%d", kept);
    return name;
}

static void check(PyStatus status)
{
    if (PyStatus_Exception(status))
        Py_ExitStatusException(status);
}

int main(int argc, char **argv)
{
    static char path[PATH_MAX];
    PyPreConfig before;
    PyConfig config;

    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length == -1 && realpath((const char *)getauxval(AT_EXECFN), path) == NULL) {
        perror("Error: cannot find this program's own file");
        return 1;
    }
    PyImport_AppendInittab("_libraries", init_libraries);

    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1;
    check(Py_PreInitialize(&before));

    PyConfig_InitIsolatedConfig(&config);
    config.site_import = 0;
    config.write_bytecode = 0;
    config.pathconfig_warnings = 0;
    config.configure_c_stdio = 1;
    config.install_signal_handlers = 1;
    config.module_search_paths_set = 1;
    wchar_t *search = Py_DecodeLocale(archive(path), NULL);
    check(PyWideStringList_Append(&config.module_search_paths, search));
    check(PyConfig_SetString(&config, &config.prefix, L"/nonexistent"));
    check(PyConfig_SetString(&config, &config.exec_prefix, L"/nonexistent"));
    check(PyConfig_SetString(&config, &config.run_command, L"import embedded; embedded.start()"));
    check(PyConfig_SetBytesString(&config, &config.executable, path));
    check(PyConfig_SetBytesArgv(&config, argc, argv));
    check(Py_InitializeFromConfig(&config));
    PyConfig_Clear(&config);
    PyMem_RawFree(search);
    return Py_RunMain();
}
